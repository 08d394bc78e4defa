"""Searches against an optimum known in closed form, and against themselves after an interruption."""

from __future__ import annotations

import json
import math

import pytest

from ligate.core.errors import InputError, RecipeError
from ligate.core.space import Among, Between, Sought, coordinates, parameters
from ligate.learn.front import Goal, front, knee
from ligate.learn.search import search

PLANE = [Sought("weight", Between(-2, 3), models=("a", "b"))]
MIXED = [
    Sought("density", Between(0.01, 1, log=True), knots=3),
    Sought("rank", Among(("within", "beyond"))),
    Sought("count", Between(1, 4, whole=True)),
]


def squares(point):
    """|theta - theta*|^2 with tau = (1, 0), (1, 1), theta* - theta_0 = (2, 1): least, namely 0, at weights 1 and 1."""
    a, b = point["weight.a"], point["weight.b"]
    return {"loss": (a + b - 2) ** 2 + (b - 1) ** 2}


@pytest.mark.parametrize("sampler", ["tpe", "cma"])
def test_a_sampler_comes_nearer_to_the_least_squares_merge_than_chance(sampler):
    def lowest(how):
        return [search(PLANE, squares, sampler=how, budget=60, seed=seed).best.values["loss"] for seed in range(5)]

    found, chance = lowest(sampler), lowest("random")
    assert sum(map(math.log, found)) / 5 < sum(map(math.log, chance)) / 5 - math.log(5)
    assert max(found) < 0.05


def test_cma_finds_the_least_squares_merge():
    best = search(PLANE, squares, sampler="cma", budget=250, seed=0).best
    assert best.point["weight.a"] == pytest.approx(1, abs=0.01)
    assert best.point["weight.b"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("sampler", ["tpe", "cma", "random"])
def test_a_search_that_was_killed_goes_on_to_the_same_trials(sampler, tmp_path):
    kept, asked = tmp_path / "trials.jsonl", []

    class Killed(BaseException):
        pass

    def dying(point):
        if len(asked) == 17:
            raise Killed
        asked.append(point)
        return squares(point)

    def go_on(point):
        asked.append(point)
        return squares(point)

    whole = search(PLANE, squares, sampler=sampler, budget=30, seed=3)
    with pytest.raises(Killed):
        search(PLANE, dying, sampler=sampler, budget=30, seed=3, kept=kept)
    with kept.open("a") as file:
        file.write('{"number": 17, "poi')  # the write that was under way
    again = search(PLANE, go_on, sampler=sampler, budget=30, seed=3, kept=kept)
    assert again == whole
    assert len(asked) == 30
    assert again == search(PLANE, go_on, sampler=sampler, budget=30, seed=3, kept=kept)
    assert len(asked) == 30, "everything stood in the journal"


def test_a_greater_budget_goes_on_and_a_smaller_one_takes_the_first(tmp_path):
    kept = tmp_path / "trials.jsonl"
    few = search(PLANE, squares, budget=12, kept=kept)
    many = search(PLANE, squares, budget=20, kept=kept)
    assert many.trials[:12] == few.trials
    assert search(PLANE, squares, budget=12, kept=kept) == few


def test_a_journal_of_another_search_is_refused(tmp_path):
    kept = tmp_path / "trials.jsonl"
    search(PLANE, squares, budget=3, kept=kept, about={"data": "1"})
    with pytest.raises(InputError, match="differs in about"):
        search(PLANE, squares, budget=3, kept=kept, about={"data": "2"})
    with pytest.raises(InputError, match="differs in seed, about"):
        search(PLANE, squares, budget=3, kept=kept, seed=1)


@pytest.mark.parametrize("text", ["[]\n", "{}\n", "not JSON\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, text):
    kept = tmp_path / "trials.jsonl"
    kept.write_text(text)
    with pytest.raises(InputError, match=r"journal|damaged"):
        search(PLANE, squares, budget=3, kept=kept)
    assert kept.read_text() == text


def test_a_line_that_is_missing_is_told(tmp_path):
    kept = tmp_path / "trials.jsonl"
    search(PLANE, squares, budget=4, kept=kept)
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join([*lines[:2], *lines[3:]]))
    with pytest.raises(InputError, match="trial 1 is missing"):
        search(PLANE, squares, budget=4, kept=kept)


def test_failures_are_recorded_and_not_fatal(tmp_path):
    def fragile(point):
        if point["weight.a"] > 1:
            raise ValueError("too much")
        return squares(point) if point["weight.b"] > 0 else {"loss": math.nan}

    found = search(PLANE, fragile, budget=40, seed=1, kept=tmp_path / "trials.jsonl")
    reasons = {trial.failed for trial in found.trials}
    assert reasons == {"", "ValueError: too much", "loss is nan"}
    assert all(bool(trial.failed) != bool(trial.values) for trial in found.trials)
    assert found.best.values["loss"] == min(trial.values["loss"] for trial in found.trials if trial.values)
    assert found.failed == sum(bool(trial.failed) for trial in found.trials) > 0


def test_a_search_in_which_everything_fails_says_why():
    with pytest.raises(InputError, match="all 3 trials failed\n  -> the first: loss is missing"):
        search(PLANE, lambda point: {"accuracy": 1.0}, budget=3)


def test_a_point_that_comes_up_again_is_not_evaluated_again():
    asked = []

    def counted(point):
        asked.append(dict(point))
        return {"loss": point["n"]}

    found = search([Sought("n", Between(1, 3, whole=True))], counted, budget=12)
    assert len(asked) == 3 and len(found.trials) == 12
    for trial in found.trials:
        assert trial.again is None or found.trials[trial.again].point == trial.point
    assert found.best.values == {"loss": 1.0} and found.best.again is None


def test_points_lie_within_their_limits_and_are_written_as_a_recipe_has_them():
    found = search(MIXED, lambda point: {"loss": 0.0}, budget=25, sampler="random")
    for trial in found.trials:
        told = parameters(MIXED, trial.point)
        assert len(told["density"]) == 3 and all(0.01 <= one <= 1 for one in told["density"])
        assert told["rank"] in ("within", "beyond")
        assert told["count"] in (1, 2, 3, 4) and isinstance(told["count"], int)
    assert json.loads(json.dumps(found.trials[0].point)) == found.trials[0].point


def test_it_begins_where_it_is_told_to():
    start = {"weight.a": 0.5, "weight.b": -0.25}
    assert search(PLANE, squares, budget=2, start=start).trials[0].point == start
    assert search(PLANE, squares, budget=2, start={"weight.b": 1.5}).trials[0].point["weight.b"] == 1.5
    with pytest.raises(RecipeError, match="lies outside"):
        search(PLANE, squares, budget=2, start={"weight.a": 9.0})


def test_several_goals_give_a_front_that_nothing_beats():
    """Two parabolas with their tops at 0 and 1: the front is what lies between."""
    goals = (Goal("left"), Goal("right"))
    found = search(
        [Sought("x", Between(-2, 3))],
        lambda point: {"left": -(point["x"] ** 2), "right": -((point["x"] - 1) ** 2)},
        objectives=goals,
        budget=60,
    )
    assert all(0 <= trial.point["x"] <= 1 for trial in found.front)
    assert len(found.front) > 5
    assert found.best in found.front
    assert 0.2 < found.best.point["x"] < 0.8


def test_the_front_of_equals_has_the_first_and_small_can_be_good():
    told = [{"a": 1, "b": 5}, {"a": 1, "b": 5}, {"a": 2, "b": 6}, {"a": 3, "b": 4}]
    assert front(told, [Goal("a"), Goal("b", higher=False)]) == [3]
    assert front(told, [Goal("a"), Goal("b")]) == [2, 3]
    assert knee([{"a": 7}], [Goal("a")]) == 0


@pytest.mark.parametrize(
    ("space", "objectives", "words"),
    [
        (MIXED, (Goal("loss"),), "`rank` is a choice"),
        (PLANE, (Goal("a"), Goal("b")), "one goal only"),
        ([Sought("x", Between(0, 1))], (Goal("loss"),), "two numbers or more"),
    ],
)
def test_cma_says_what_it_cannot_do(space, objectives, words):
    with pytest.raises(RecipeError, match=words):
        search(space, squares, objectives=objectives, sampler="cma")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Between(1, 1), "less than"),
        (lambda: Between(0, math.inf), "finite"),
        (lambda: Between(0, 1, log=True), "greater than 0"),
        (lambda: Between(0.5, 2, whole=True), "whole numbers"),
        (lambda: Among(("one",)), "no choices"),
        (lambda: Sought("x", Between(0, 1), knots=0), "1 or more"),
        (lambda: coordinates([]), "no parameter"),
        (lambda: coordinates([PLANE[0], PLANE[0]]), "sought twice"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(RecipeError, match=words):
        make()


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(RecipeError, match=r"needs optuna.*\n.*ligate\[search\]"):
        search(PLANE, squares, budget=1)
