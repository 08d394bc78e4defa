from __future__ import annotations

from pathlib import Path

import pytest

from ligate.bench.suites.own import config as own_config
from ligate.core.errors import LigateError

GOOD = """\
kind: classification
models:
  pretrained: base
  experts: {a: one, b: two}
tasks:
  a: {data: a.csv, split: {validation: 0.2}}
  b: {data: {validation: v.csv, test: t.csv}, columns: {label: stars}, classes: {1: bad, 5: good}}
"""


def told(text: str) -> str:
    with pytest.raises(LigateError) as error:
        own_config.parse(text, "my.yaml", Path())
    return str(error.value)


def test_a_file_means_what_it_says():
    config = own_config.parse(GOOD, "my.yaml", Path("here"))
    a, b = config.tasks
    assert config.name == "my" and config.length == 64 and not config.same_task
    assert a.files == {"test": "a.csv"} and a.share == 0.2 and a.columns == {"text": "text", "label": "label"}
    assert b.files == {"validation": "v.csv", "test": "t.csv"} and b.share is None
    assert b.columns["label"] == "stars" and b.classes == {"1": "bad", "5": "good"}
    assert [(one.label, one.path) for one in config.models] == [("pretrained", "base"), ("a", "one"), ("b", "two")]


def test_data_sets_by_id_have_splits_by_name_or_a_share_of_one():
    text = GOOD.replace(
        "data: a.csv, split: {validation: 0.2}", "dataset: org/name, split: {validation: dev, test: train}"
    )
    assert own_config.parse(text, "my.yaml", Path()).tasks[0].files == {"validation": "dev", "test": "train"}
    text = GOOD.replace("data: a.csv", "dataset: org/name")
    assert own_config.parse(text, "my.yaml", Path()).tasks[0].files == {"test": "test"}


def test_everything_wrong_is_told_at_once_with_its_line():
    text = GOOD.replace("kind: classification", "kind: clasification").replace("experts: {a: one", "expert: {a: one")
    text = text.replace("a: {data: a.csv", "a: {dat: a.csv").replace("{1: bad, 5: good}", "[bad]")
    said = told(text)
    assert "my.yaml:1: there is no kind 'clasification'\n  -> did you mean 'classification'?" in said
    assert "my.yaml:4: `models` has no key `expert`\n  -> did you mean 'experts'?" in said
    assert "my.yaml:6: task `a` has no key `dat`\n  -> did you mean 'data'?" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{1: bad, 5: good}", "[bad]", "my.yaml:7: task `b` has one class"),
        ("{1: bad, 5: good}", "[bad, bad]", "`bad` stands twice"),
        (", split: {validation: 0.2}", "", "my.yaml:6: task `a` has no validation questions"),
        ("0.2", "20", "a share between 0 and 1"),
        ("{a: one, b: two}", "{a: one}", "two experts or more"),
        ("{a: one, b: two}", "{a: one, c: two}", "my.yaml:4: expert `c` has no task of its name"),
        ("{a: one, b: two}", "{a: one, b: {path: two, examples: 7}}", "expert `a` does not tell its `examples:`"),
        ("{a: one, b: two}", "{a: one, b: }", "model `b` has no path"),
        ("  pretrained: base\n", "", "`pretrained:` is missing"),
        ("data: a.csv", "data: a.csv, metric: f1", "is scored by accuracy, not by 'f1'"),
        ("data: a.csv", "data: a.csv, prompts: 'a {}'", "task `a` has no key `prompts`"),
        ("columns: {label: stars}", "columns: {label: stars, pair: x}", "`columns` has no key `pair`"),
        ("models:", "device: gpu\nmodels:", "my.yaml:2: the file has no key `device`"),
        ("kind: classification", "kind: sequence-classification\nlength: 2", "at least 4 tokens"),
    ],
)
def test_what_is_wrong(old: str, new: str, said: str):
    assert old in GOOD
    assert said in told(GOOD.replace(old, new, 1))


def test_every_task_of_classifiers_has_an_expert_whose_head_answers():
    text = GOOD.replace("kind: classification", "kind: sequence-classification")
    assert "task `c` has no expert" in told(f"{text}  c: {{data: c.csv, split: {{validation: 0.5}}}}\n")
    assert "a joint model has a head of its own" in told(
        text.replace("  pretrained: base", "  pretrained: base\n  joint: j")
    )


def test_no_file_and_an_empty_file(tmp_path: Path):
    with pytest.raises(LigateError, match="cannot be read"):
        own_config.read(tmp_path / "my.yaml")
    assert "is empty" in told("  \n") and "is empty" in told("")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LigateError, match="UTF-8"):
        own_config.read(tmp_path / "bad.yaml")
