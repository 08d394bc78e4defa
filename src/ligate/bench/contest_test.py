"""Contests among tiny networks on digits, from training to rows."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ligate.bench import contest
from ligate.bench.contestants import contestants
from ligate.bench.results import Cell
from ligate.bench.statistics import means
from ligate.bench.suite import ACCURACY, TEST, VALIDATION, Request, Teller

pytest.importorskip("sklearn")

from ligate.bench.suites.digits import tasks as digits_tasks

METHODS = ("task_arithmetic", "tsv_m(scale=1.0)")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def request_in(store: Path, out: Path, **more) -> Request:
    return Request("digits-tasks", "smoke", out, store, (0,), 4, **more)


def played(store: Path, out: Path, methods=METHODS, tell: Teller | None = None, **more) -> dict[str, Cell]:
    world = digits_tasks.world(store, 0, "smoke")
    takes_part = contestants(world, methods)
    cells = contest.play(world, takes_part, request_in(store, out, **more), ACCURACY, tell or Teller())
    return {one.id: cell for one, cell in zip(takes_part, cells, strict=True)}


def average(cell: Cell, paper: str = TEST) -> float:
    scores = means(cell.answers[paper])
    return sum(scores.values()) / len(scores)


@pytest.fixture(scope="module")
def cells(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cell]:
    return played(store, tmp_path_factory.mktemp("out"), keep=True)


def test_merging_helps_and_experts_know_more(cells):
    assert average(cells["pretrained"]) < average(cells["average"]) < average(cells["individual"])
    assert all(not cell.failed for cell in cells.values())


def test_the_best_single_network_is_one_of_the_experts(cells, store):
    world = digits_tasks.world(store, 0, "smoke")
    each = [world.ask(world.state(one.label), TEST) for one in world.experts]
    assert any(
        all(torch.equal(values[task], cells["best-single"].answers[TEST][task]) for task in values) for values in each
    )


def test_each_task_asks_its_own_expert(cells, store):
    world = digits_tasks.world(store, 0, "smoke")
    for task in world.tasks:
        if task.expert:
            own = world.ask(world.state(task.expert), TEST)[task.name]
            assert torch.equal(own, cells["individual"].answers[TEST][task.name])


def test_the_coefficient_is_the_best_on_validation_and_never_saw_the_test(cells):
    cell = cells["task_arithmetic"]
    assert len(cell.curve) == 4
    assert cell.chosen == max(cell.curve, key=lambda point: (point.mean, -point.value)).value
    assert [point.value for point in cell.curve] == sorted(point.value for point in cell.curve)
    assert VALIDATION not in cell.answers
    assert cells["tsv_m(scale=1.0)"].curve == [] and cells["tsv_m(scale=1.0)"].chosen is None


def test_votes_are_those_of_all_experts(cells, store):
    world = digits_tasks.world(store, 0, "smoke")
    one = world.experts[0].label
    alone = world.vote([one], [1.0], "logits", TEST)
    assert all(torch.equal(alone[task], value) for task, value in world.ask(world.state(one), TEST).items())
    assert cells["ensemble-logits"].cost.passes == len(world.experts)
    assert cells["average"].cost.passes == 1
    assert cells["ensemble-logits"].cost.parameters == len(world.experts) * cells["average"].cost.parameters


def test_a_second_run_gives_the_same_numbers_whether_answers_were_kept_or_not(cells, store, tmp_path):
    again = played(store, tmp_path / "kept")
    for path in (store / "answers").iterdir():
        path.unlink()
    anew = played(store, tmp_path / "anew")
    for name, cell in cells.items():
        for other in (again[name], anew[name]):
            assert (other.chosen, list(other.curve)) == (cell.chosen, list(cell.curve))
            for paper, values in cell.answers.items():
                assert all(torch.equal(values[task], other.answers[paper][task]) for task in values)


def test_merged_models_stay_only_on_request(cells, store, tmp_path):
    played(store, tmp_path / "out", methods=())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["recipes"]
    assert [path.name for path in (tmp_path / "out" / "recipes" / "seed-0").iterdir()] == ["average.yaml"]
    played(store, tmp_path / "kept", methods=(), keep=True)
    assert list((tmp_path / "kept" / "merged" / "seed-0" / "average").glob("*.safetensors"))


def test_a_killed_run_goes_on_with_what_it_had(cells, store, tmp_path, monkeypatch):
    """The merge was noted, but its answers were not: they come from a new merge of the same recipe."""
    for path in (store / "answers").iterdir():
        path.unlink()
    again = played(store, tmp_path / "out")
    assert torch.equal(again["average"].answers[TEST]["turned"], cells["average"].answers[TEST]["turned"])


KILLED = """
import sys
from pathlib import Path
from ligate.bench.contest_test import played
played(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_run_that_is_killed_goes_on_and_comes_to_the_same(cells, tmp_path):
    """Killed while networks are trained, and again while answers are collected."""
    for sign, many in (("networks", 2), ("answers", 8)):
        ran = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "store", tmp_path / "out"])
        until = time.monotonic() + 120
        while ran.poll() is None and time.monotonic() < until:
            if (tmp_path / "store" / sign).is_dir() and len(list((tmp_path / "store" / sign).iterdir())) >= many:
                break
            time.sleep(0.01)
        ran.kill()
        ran.wait()
    for name, cell in played(tmp_path / "store", tmp_path / "out").items():
        for paper, values in cells[name].answers.items():
            assert all(torch.equal(values[task], cell.answers[paper][task]) for task in values)


def test_a_method_that_fails_is_a_row_that_says_why(store, tmp_path):
    told: list[str] = []
    found = played(store, tmp_path / "out", methods=("ties(density=7)", "task_arithmetic"), tell=Teller(told.append))
    assert "density" in found["ties(density=7)"].failed
    assert any("failed with seed 0" in text for text in told)
    assert not found["task_arithmetic"].failed


def test_a_rule_that_raises_anything_is_a_row_too(store, tmp_path, monkeypatch):
    real = contest.in_memory

    def broken(text, states):
        if "ties" in text:
            raise ZeroDivisionError("of a rule")
        return real(text, states)

    for path in (store / "answers").iterdir():
        path.unlink()
    monkeypatch.setattr(contest, "in_memory", broken)
    found = played(store, tmp_path / "out", methods=("ties", "task_arithmetic"))
    assert found["ties"].failed == "ZeroDivisionError: of a rule"
    assert not found["task_arithmetic"].failed


def test_other_training_is_another_network(store):
    one, other = (digits_tasks.world(store, seed, "smoke") for seed in (0, 1))
    assert {each.folder for each in one.experts}.isdisjoint(each.folder for each in other.experts)
    assert one.digest == other.digest  # the same questions
