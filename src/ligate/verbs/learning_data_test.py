from __future__ import annotations

import json
from pathlib import Path

import pytest

from ligate.core.errors import InputError
from ligate.recipe.schema import DataSpec, DataTask
from ligate.tasks.questions import share_of
from ligate.verbs.learning_data import read

COLUMNS = {"text": "text", "label": "label"}


def written(folder: Path, count: int = 200) -> str:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "author": f"someone {n // 4}"} for n in range(count)]
    path = folder / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def examples(folder: Path, *, labelled: bool = True, columns: dict[str, str] | None = None, **data: object):
    task = DataTask("x", written(folder), columns=columns or COLUMNS)
    spec = DataSpec("classification", (task,), 64, **data)  # type: ignore[arg-type]
    return read(spec, task, None, labelled=labelled)


def test_halves_share_no_example_and_no_source(tmp_path: Path):
    found = examples(tmp_path, columns={**COLUMNS, "source": "author"})
    learning, stopping = ({one.source for one in half} for half in (found.learning, found.stopping))
    assert learning and stopping and not learning & stopping
    assert len(found.learning) + len(found.stopping) == 200
    assert found.digest == examples(tmp_path, columns={**COLUMNS, "source": "author"}).digest


def test_a_part_that_was_drawn_by_hash_before_is_still_halved(tmp_path: Path):
    """`bench own` draws validation questions by the hash of the source: those alone must not all stop."""
    found = examples(tmp_path)
    drawn = [share_of(one.source) < 0.2 for one in (*found.learning, *found.stopping)]
    stops = [False] * len(found.learning) + [True] * len(found.stopping)
    among = [stop for stop, is_drawn in zip(stops, drawn, strict=True) if is_drawn]
    assert 0.2 < sum(among) / len(among) < 0.8


@pytest.mark.parametrize(("share", "each"), [(0.5, (4, 4)), (0.25, (6, 2))])
def test_labelled_examples_are_limited_in_both_halves_together(tmp_path: Path, share: float, each: tuple[int, int]):
    found = examples(tmp_path, per_class=8, share=share)
    for half, count in zip((found.learning, found.stopping), each, strict=True):
        assert sorted(one.answer for one in half) == [0] * count + [1] * count


def test_without_labels_no_answer_is_kept(tmp_path: Path):
    found = examples(tmp_path, labelled=False)
    assert {one.answer for one in (*found.learning, *found.stopping)} == {-1} and list(found.labels) == ["a", "b"]


def test_classes_must_be_known(tmp_path: Path):
    with pytest.raises(InputError, match="the classes of task `x` are not known"):
        examples(tmp_path, labelled=False, columns={"text": "text", "label": "kind"})
