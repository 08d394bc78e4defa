from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ligate.align.straight_through import Search
from ligate.bench.results import load, save
from ligate.bench.suite import TEST, Request, State, Teller
from ligate.bench.suites.digits import aligners, suite
from ligate.bench.suites.digits import learned as rows
from ligate.bench.suites.digits.aligners import by_weights
from ligate.bench.suites.digits.data import digits
from ligate.bench.suites.digits.learned import LEARNINGS, learned
from ligate.bench.suites.digits.networks import Architecture, Lesson, logits, train
from ligate.bench.suites.digits.paths import between

pytest.importorskip("sklearn")

ARCHITECTURE = Architecture("mlp", 8, 1)


@pytest.fixture(scope="module")
def both() -> tuple[State, State]:
    """The second in the coordinates of the first."""
    data = digits()["train"]
    one, other = (train(ARCHITECTURE, None, data, Lesson(10, 3e-3), seed) for seed in (0, 1))
    return one, by_weights(one, other, ARCHITECTURE, data.images)


def apart(state: State, both: tuple[State, State], part: str) -> float:
    """Cross-entropy with the mean of what both say."""
    images = digits()[part].images  # type: ignore[index]
    votes = sum(logits(ARCHITECTURE, each, images).softmax(1) for each in both) / 2
    return float(-(votes * logits(ARCHITECTURE, state, images).log_softmax(1)).sum(1).mean())


@pytest.mark.parametrize("name", LEARNINGS)
def test_what_is_learned_says_more_nearly_what_both_say(name: str, both: tuple[State, State]):
    preset = LEARNINGS[name].preset
    short = replace(preset, solver=replace(preset.solver, steps=40, rate=min(preset.solver.rate, 3e-2)))
    middle = between(*both, 0.5)
    state, found = learned(short, ARCHITECTURE, middle, both)
    assert apart(state, both, "test") < apart(middle, both, "test") - 0.05
    units = 8 + 8 + 10 + 10  # rows of two weights and two biases
    counts = {"tensors": 2 + 3 * 4, "rows": 2 + 3 * units, "tuned": sum(one.numel() for one in middle.values())}
    assert found.scalars == next(count for kind, count in counts.items() if kind in name)


def test_no_image_of_the_test_is_learned_from_or_stopped_by():
    halves = [torch.cat([batch.inputs for batch in half]) for half in rows._halves()]  # type: ignore[arg-type]
    known = {image.numpy().tobytes() for half in halves for image in half}
    assert [len(half) for half in halves] == [549, 548]
    assert known == {image.numpy().tobytes() for image in digits()["train"].images}
    assert not any(
        image.numpy().tobytes() in known for part in ("validation", "test") for image in digits()[part].images
    )


def test_a_learned_merge_is_a_row_that_says_how_far_it_is_from_the_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows_of_tensors = LEARNINGS["learned-tensors"]
    preset = rows_of_tensors.preset
    short = rows_of_tensors._replace(preset=replace(preset, solver=replace(preset.solver, steps=2)))
    monkeypatch.setattr(suite, "LEARNINGS", {"learned-tensors": short})
    monkeypatch.setattr(suite, "ALIKE", {"smoke": (ARCHITECTURE,)})
    monkeypatch.setattr(suite, "UNLIKE", {"smoke": ()})
    monkeypatch.setattr(suite, "LESSONS", {"mlp": Lesson(5, 3e-3)})
    monkeypatch.setattr(aligners, "SEARCH", Search(steps=1, rate=0.1))
    asked = ["straight-through-repair", "learned-tensors"]
    request = Request("digits", "smoke", tmp_path / "out", tmp_path / "store", (0,), 0, methods=asked, keep=True)
    save(suite.play(request, Teller()), tmp_path)
    found = load(tmp_path)
    row, vote = found.row("learned-tensors"), [found.row(f"ensemble-{how}") for how in ("logits", "probabilities")]
    assert row is not None and row.cells[0].failed == ""
    best = max(float(one.cells[0].answers[TEST]["mlp-8x1"].mean()) for one in vote if one)
    extras = row.cells[0].extras
    assert extras["minus vote mlp-8x1"] == pytest.approx(float(row.cells[0].answers[TEST]["mlp-8x1"].mean()) - best)
    assert extras["learned mlp-8x1"] == 14
    assert (tmp_path / "out" / "merged" / "seed-0" / "learned-tensors" / "mlp-8x1" / "model.safetensors").is_file()
