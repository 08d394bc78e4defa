from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import data as own_data
from ligate.core.errors import InputError
from ligate.tasks import tables

CSV = "text,label,author\n" + "".join(
    f'"a text, number {n}",{"good" if n % 3 else "bad"},someone{n // 2}\n' for n in range(100)
)


def loaded(folder: Path, task: str, kind: str = "classification", labels: list[str] | None = None):
    text = f"kind: {kind}\nmodels:\n  pretrained: p\n  experts: {{a: x, b: y}}\ntasks:\n  a: {{{task}}}\n"
    other = "  b: {data: b.csv, split: {validation: 0.5}}\n"
    config = own_config.parse(text + other, "my.yaml", folder)
    return own_data.load(config, config.tasks[0], labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


def test_a_file_is_split_by_hash_whatever_its_order(folder: Path):
    one = loaded(folder, "data: a.csv, split: {validation: 0.3}")
    first, *lines = CSV.splitlines(keepends=True)
    (folder / "a.csv").write_text(first + "".join(reversed(lines)), encoding="utf-8")
    other = loaded(folder, "data: a.csv, split: {validation: 0.3}")
    assert one.digest == other.digest
    validation, test = ({each.key for each in one.questions[part]} for part in own_config.PARTS)
    assert len(validation) + len(test) == 100 and not validation & test and 20 <= len(validation) <= 40
    assert list(one.labels) == ["bad", "good"] and one.dropped == 0
    bad = {f"a text, number {number}" for number in range(0, 100, 3)}
    assert all((each.key in bad) == (each.answer == 0) for each in one.questions["test"])


def test_a_source_is_on_one_side(folder: Path):
    found = loaded(folder, "data: a.csv, split: {validation: 0.3}, columns: {source: author}")
    validation, test = ({each.source for each in found.questions[part]} for part in own_config.PARTS)
    assert validation and test and not validation & test


def test_questions_that_are_tested_choose_no_coefficients(folder: Path):
    (folder / "v.csv").write_text("text,label\n" + "".join(CSV.splitlines(True)[n].rsplit(",", 1)[0] + "\n" for n in
        range(1, 31)) + "".join(f"new {n},good\n" for n in range(12)))  # fmt: skip
    found = loaded(folder, "data: {validation: v.csv, test: a.csv}")
    assert found.dropped == 30 and len(found.questions["validation"]) == 12


def test_lines_of_json_and_parquet_say_the_same_as_a_csv(folder: Path):
    records = [
        dict(zip(("text", "label"), line.strip().replace('"', "").rsplit(",", 2)[:2], strict=True))
        for line in CSV.splitlines()[1:]
    ]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    assert loaded(folder, "data: a.jsonl, split: {validation: 0.3}").digest == loaded(
        folder, "data: a.csv, split: {validation: 0.3}").digest  # fmt: skip
    if importlib.util.find_spec("pyarrow"):
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(records), folder / "a.parquet")
        assert loaded(folder, "data: a.parquet, split: {validation: 0.3}").digest == loaded(
            folder, "data: a.csv, split: {validation: 0.3}").digest  # fmt: skip


def test_numbers_are_labels_by_name_or_by_place(folder: Path):
    rows = [{"text": f"text {n}", "label": n % 2} for n in range(40)]
    (folder / "n.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for classes in ("", ", classes: [even, odd]", ", classes: {0: even, 1: odd}"):
        found = loaded(folder, f"data: n.jsonl, split: {{validation: 0.4}}{classes}")
        assert all(each.answer == int(each.key.split()[1]) % 2 for each in found.questions["test"])
    found = loaded(folder, "data: n.jsonl, split: {validation: 0.4}", "sequence-classification", ["no", "yes"])
    assert {each.answer for each in found.questions["test"]} == {0, 1} and list(found.labels) == ["no", "yes"]


def test_pairs_of_texts_are_for_classifiers(folder: Path):
    task = "data: a.csv, split: {validation: 0.3}, columns: {pair: author}"
    found = loaded(folder, task, "sequence-classification", ["bad", "good"])
    assert all(len(each.content) == 2 for each in found.questions["test"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", "text,label\none,two,three\n", r"x.csv:2: has not as many fields"),
        ("x.csv", "text,label\none\n", r"x.csv:2: has not as many fields"),
        ("x.csv", "", "has no rows"),
        ("x.csv", b"text,label\n\xff\xfe,b\n", "UTF-8"),
        ("x.jsonl", '{"text": "a"}\n{text}\n', "x.jsonl:2: is no JSON"),
        ("x.jsonl", '["a"]\n', "x.jsonl:1: is no object"),
        ("x.xlsx", "?", "no kind of file"),
        ("x.csv", "text,labels\n" + "one,two\n" * 5, "there is no column 'label' in x.csv"),
        ("x.parquet", "no parquet", "Parquet"),
    ],
)
def test_files_that_cannot_be_read(folder: Path, name: str, content: str | bytes, said: str):
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=said):
        loaded(folder, f"data: {name}, split: {{validation: 0.3}}")


def test_a_data_set_takes_its_library(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="takes the library datasets"):
        loaded(folder, "dataset: org/name, split: {validation: 0.3}")
    (folder / "x.parquet").write_text("x")
    with pytest.raises(InputError, match="takes pyarrow"):
        loaded(folder, "data: x.parquet, split: {validation: 0.3}")
