"""A search from recipe to merged folder: with a judge that knows the best weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate.core.errors import InputError, LigateError, RecipeError, StorageError
from ligate.methods import _catalogue
from ligate.recipe.parse import parse_text
from ligate.recipe.review import review
from ligate.verbs.judging import Judge
from ligate.verbs.merge import merge
from ligate.verbs.outcome import read_record
from ligate.verbs.replay import replay
from ligate.verbs.search import MEAN, Overruled, search
from ligate.verbs.searched import held
from ligate.verbs.watch import Nobody

LAYERS = 4
PAGE = Path(__file__).parent.parent / "docs" / "search.md"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A base of zeros, and two models whose task vectors are at right angles."""
    monkeypatch.chdir(tmp_path)
    draw = torch.Generator().manual_seed(1)
    a = {f"layers.{i}.w": torch.randn(4, 4, generator=draw) for i in range(LAYERS)}
    b = {name: torch.randn(4, 4, generator=draw) for name in a}
    for label, state in (("base", {name: torch.zeros(4, 4) for name in a}), ("a", a), ("b", b)):
        (tmp_path / label).mkdir()
        save_file(state, tmp_path / label / "model.safetensors", {"format": "pt"})
    return {"base": {}, "a": a, "b": b}


def recipe(parameters, **search):
    said = {} if "scale" in parameters else {"parameters": {"scale": 1.0}}
    return {
        "sources": {label: f"./{label}" for label in ("base", "a", "b")},
        "merge": {"method": "task_arithmetic", "base": "base", "models": ["a", "b"], **said},
        "search": {"parameters": parameters, "budget": 40, **search},
    }


WEIGHTS = {"weight": {"low": 0, "high": 1, "per": "model"}}


def near(models, a, b):
    """Worth more the nearer the weights are to a times the one and b times the other model."""
    goal = {name: a * models["a"][name] + b * models["b"][name] for name in models["a"]}

    def ask(state):
        return {"distance": sum(float((state[name] - goal[name]).square().mean()) for name in goal)}

    return Judge(("distance",), ask, higher=False)


def test_the_best_weights_are_found_and_merged(models, tmp_path):
    found = search(recipe(WEIGHTS, budget=80, sampler="cma"), "out", judge=near(models, 0.8, 0.3))
    assert found.parameters["weight"]["a"] == pytest.approx(0.8, abs=0.05)
    assert found.parameters["weight"]["b"] == pytest.approx(0.3, abs=0.05)
    assert found.trials == 80 and found.failed == 0
    merged = load_file(tmp_path / "out" / "model.safetensors")
    told = near(models, 0.8, 0.3).ask(merged)["distance"]
    assert told == pytest.approx(found.values[MEAN], rel=1e-4)
    assert (tmp_path / "out.search" / "trials.svg").read_text().startswith("<svg xmlns")


def test_its_recipe_is_an_ordinary_one_that_gives_the_same_and_the_record_says_how_it_was_found(models, tmp_path):
    found = search(recipe(WEIGHTS, budget=5), "out", judge=near(models, 0.8, 0.3))
    again = merge(tmp_path / "out.search" / "recipe.yaml", "again")
    assert again.digest == found.merged.digest
    assert replay("out", "replayed").digest == found.merged.digest
    told = read_record("out").recipe["learned"]["search"]
    assert (told["sampler"], told["budget"], told["seed"], told["trials"]) == ("tpe", 5, 0, 5)
    assert told["space"]["weight"]["models"] == ["a", "b"]
    assert told["chosen"]["values"][MEAN] == found.values[MEAN]
    assert str(tmp_path) not in json.dumps(told)


def test_a_curve_over_depth_is_found_by_its_knots(models):
    goal = {f"layers.{i}.w": (0.2 + 0.2 * i) * models["a"][f"layers.{i}.w"] for i in range(LAYERS)}

    def ask(state):
        return {"t": sum(float((state[name] - goal[name]).square().mean()) for name in goal)}

    space = {"scale": {"low": 0, "high": 1, "knots": 2}, "weight": {"low": 0, "high": 1, "per": "model"}}
    found = search(recipe(space, budget=150, sampler="cma"), "out", judge=Judge(("t",), ask, higher=False))
    first, last = (found.parameters["scale"][end] * found.parameters["weight"]["a"] for end in (0, 1))
    assert first == pytest.approx(0.2, abs=0.1) and last == pytest.approx(0.8, abs=0.15)


class Stopped(BaseException):
    pass


def test_a_search_that_was_killed_goes_on_to_the_same_result(models, tmp_path):
    judge, asked = near(models, 0.8, 0.3), []

    def dying(state):
        asked.append(1)
        if len(asked) == 8:
            raise Stopped
        return judge.ask(state)

    whole = search(recipe(WEIGHTS, budget=15), "whole", judge=judge)
    with pytest.raises(Stopped):
        search(recipe(WEIGHTS, budget=15), "out", judge=Judge(("distance",), dying, higher=False))
    assert not (tmp_path / "out").exists()
    found = search(recipe(WEIGHTS, budget=15), "out", judge=Judge(("distance",), dying, higher=False))
    assert len(asked) == 16, "seven of the first run, the one that was killed, eight of the second"
    assert found.merged.digest == whole.merged.digest
    trials = [(tmp_path / f"{name}.search" / "trials.jsonl").read_text() for name in ("out", "whole")]
    assert trials[0] == trials[1]


def test_other_models_are_another_search(models, tmp_path):
    search(recipe(WEIGHTS, budget=3), "out", judge=near(models, 0.8, 0.3))
    state = load_file(tmp_path / "a" / "model.safetensors")
    save_file({name: one + 1 for name, one in state.items()}, tmp_path / "a" / "model.safetensors", {"format": "pt"})
    (tmp_path / "out").rename(tmp_path / "old")
    with pytest.raises(InputError, match="differs in about"):
        search(recipe(WEIGHTS, budget=3), "out", judge=near(models, 0.8, 0.3))
    search(recipe(WEIGHTS, budget=3), "out", judge=near(models, 0.8, 0.3), overwrite=True)


def test_several_tasks_give_a_front_with_a_recipe_for_each_of_its_points(models, tmp_path):
    def ask(state):
        return {label: -sum(float((state[n] - models[label][n]).square().mean()) for n in state) for label in "ab"}

    found = search(recipe(WEIGHTS, budget=40, front=True), "out", judge=Judge(("a", "b"), ask))
    front = json.loads((tmp_path / "out.search" / "front.json").read_text())
    assert len(front["points"]) == found.front > 3
    assert [point["values"]["a"] for point in front["points"]] == sorted(p["values"]["a"] for p in front["points"])
    (knee,) = (point for point in front["points"] if point["knee"])
    assert knee["parameters"] == found.parameters
    assert merge(tmp_path / "out.search" / knee["recipe"], "again").digest == found.merged.digest
    drawn = (tmp_path / "out.search" / "front.svg").read_text()
    assert drawn.count("<circle") == 40 and "knee" in drawn


def test_trials_that_fail_are_told_once_and_recorded(models):
    told = []

    class Watch(Nobody):
        def note(self, text):
            told.append(text)

    def ask(state):
        size = float(sum(one.square().sum() for one in state.values()))
        if size > 60:
            raise ValueError("too large")
        return {"t": size}

    found = search(recipe(WEIGHTS, budget=12, sampler="random"), "out", judge=Judge(("t",), ask), watch=Watch())
    assert 0 < found.failed < 12
    assert len([text for text in told if "too large" in text]) == 1
    assert read_record("out").recipe["learned"]["search"]["failed"] == found.failed


def test_the_best_is_asked_at_the_end_on_what_chose_nothing(models):
    judge = near(models, 0.8, 0.3)
    judge = Judge(judge.tasks, judge.ask, higher=False, check=lambda state: {"distance": 7.0})
    found = search(recipe(WEIGHTS, budget=2), "out", judge=judge)
    assert found.checked == {MEAN: 7.0, "distance": 7.0}
    assert read_record("out").recipe["learned"]["search"]["checked"]["distance"] == 7.0


def test_what_a_caller_wants_differently_counts(models, tmp_path):
    search(recipe(WEIGHTS), "out", judge=near(models, 0.8, 0.3), overruled=Overruled("random", 3, 9))
    told = read_record("out").recipe["learned"]["search"]
    assert (told["sampler"], told["trials"], told["seed"]) == ("random", 3, 9)


def test_what_cannot_be_searched_is_told_before_anything_is_read(models, tmp_path):
    judge = near(models, 1, 1)
    without = {key: value for key, value in recipe(WEIGHTS).items() if key != "search"}
    with pytest.raises(RecipeError, match="no `search:`"):
        search(without, "out", judge=judge)
    with pytest.raises(RecipeError, match="no parameter `wieght`"):
        search(recipe({"wieght": {"low": 0, "high": 1}}), "out", judge=judge)
    with pytest.raises(RecipeError, match="`data:`"):
        search(recipe(WEIGHTS), "out")
    with pytest.raises(RecipeError, match="ligate search"):
        merge(recipe(WEIGHTS), "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(StorageError, match="already holds files"):
        search(recipe(WEIGHTS), "out", judge=judge)
    assert not (tmp_path / "out.search").exists()


def test_a_folder_that_is_not_ours_is_left_alone(models, tmp_path):
    (tmp_path / "out.search").mkdir()
    (tmp_path / "out.search" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="in the way"):
        search(recipe(WEIGHTS), "out", judge=near(models, 1, 1))
    assert (tmp_path / "out.search" / "thesis.txt").exists()


def test_only_one_process_searches_for_an_output_and_a_wrong_call_loses_no_trials(models, tmp_path):
    with held(tmp_path / "out"), pytest.raises(StorageError, match="another process"):
        search(recipe(WEIGHTS, budget=2), "out", judge=near(models, 1, 1))
    assert not (tmp_path / "out.search").exists()
    search(recipe(WEIGHTS, budget=2), "out", judge=near(models, 1, 1))
    wrong = recipe(WEIGHTS, budget=2)
    wrong["sources"]["b"] = "./nowhere"
    with pytest.raises(LigateError, match="nowhere"):
        search(wrong, "out", judge=near(models, 1, 1), overwrite=True)
    assert (tmp_path / "out.search" / "trials.jsonl").exists()


def test_the_recipe_of_the_page_is_sound():
    text = re.search(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    found = parse_text(text, "page.yaml")
    assert review(found, _catalogue.load) == ()
    assert len(found.search.space) == 4 and found.data
