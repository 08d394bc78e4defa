"""What is rebuilt in memory is what a merge would write."""

from __future__ import annotations

import pytest
import torch

from ligate.io.memory import MemorySource
from ligate.methods import _catalogue
from ligate.recipe.parse import data_text, parse_text
from ligate.recipe.resolve import resolve
from ligate.recipe.searching import with_parameters
from ligate.verbs import rebuilding
from ligate.verbs.rebuilding import Rebuilder, rebuilt


def states(dtype=torch.float32):
    draw = torch.Generator().manual_seed(5)

    def one():
        layers = {f"layers.{i}.w": torch.randn(6, 8, generator=draw) for i in range(3)}
        state = {**layers, "norm": torch.randn(8, generator=draw)}
        return {name: value.to(dtype) for name, value in state.items()} | {"count": torch.tensor([3])}

    return {"base": one(), "a": one(), "b": one()}


def recipe(method, **parameters):
    merge = {"method": method, "base": "base", "models": ["a", "b"], "parameters": parameters}
    return parse_text(data_text({"sources": {label: label for label in ("base", "a", "b")}, "merge": merge}))


def rebuilder(wanted, held):
    sources = {label: MemorySource(label, state) for label, state in held.items()}
    plan = resolve(wanted, wanted.steps[-1], sources, _catalogue.load)
    return Rebuilder(wanted, plan, sources, _catalogue.load)


def merged(wanted, held):
    sources = {label: MemorySource(label, state) for label, state in held.items()}
    return rebuilt(wanted, wanted.steps[-1], sources, _catalogue.load)


SCALED = [
    card.id
    for card in map(_catalogue.load, _catalogue.ids())
    if "scale" in card.params and card.base == "required" and card.models[1] is None
]


@pytest.mark.parametrize("method", SCALED)
def test_scale_multiplies_what_is_added_to_the_base_in_every_rule_that_has_it(method):
    wanted, held = recipe(method), states(torch.float64)
    found = rebuilder(wanted, held).merged({"scale": 0.37})
    torch.testing.assert_close(found, merged(recipe(method, scale=0.37), held), rtol=1e-9, atol=1e-11)


def test_there_are_rules_with_a_scale():
    assert {"merge/ties", "merge/task_arithmetic", "merge/tsv_m", "merge/opcm"} <= set(SCALED)


@pytest.mark.parametrize(
    "values",
    [
        {"density": 0.4},
        {"density": [0.1, 0.9], "scale": 1.5},
        {"weight": {"a": 0.2, "b": 0.7}, "density": {"a": 0.5, "b": [1.0, 0.2]}},
    ],
)
def test_parameters_reach_the_rule_as_a_recipe_gives_them(values):
    held = states()
    found = rebuilder(recipe("ties", density=0.2), held).merged(values)
    expected = merged(recipe("ties", **{"density": 0.2, **values}), held)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_results_have_the_types_in_which_they_are_stored():
    wanted, held = recipe("task_arithmetic"), states(torch.bfloat16)
    found = rebuilder(wanted, held).merged({"scale": 0.3})
    assert found["norm"].dtype == torch.bfloat16 and found["count"].tolist() == [3]
    expected = merged(recipe("task_arithmetic", scale=0.3), held)
    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)


def test_a_rule_runs_once_for_all_scales(monkeypatch):
    counted = []
    real = rebuilding.run
    monkeypatch.setattr(rebuilding, "run", lambda *args, **kw: counted.append(1) or real(*args, **kw))
    again = rebuilder(recipe("ties"), states())
    for scale in (0.5, 1.0, 2.0):
        again.merged({"scale": scale, "density": 0.3})
    again.merged({"scale": 1.0, "density": 0.4})
    assert len(counted) == 2


def test_parameters_replace_all_that_was_said_of_them():
    wanted = with_parameters(recipe("ties", density=[{"match": "norm", "value": 1.0}, 0.2]), {"density": 0.6})
    assert [(one.name, one.value, one.match) for one in wanted.steps[0].settings] == [("density", 0.6, None)]
