from __future__ import annotations

import math

import pytest
import torch
import yaml

from ligate.bench.contestants import (
    AVERAGE,
    SCALE,
    Rule,
    Search,
    Taught,
    averaged,
    best,
    contestants,
    merged,
    recipe_text,
)
from ligate.bench.suite import JOINT, PRETRAINED, Task, Trained
from ligate.core.errors import LigateError, RecipeError
from ligate.ops.notebook import site
from ligate.recipe.parse import parse_text
from ligate.verbs.methods import cards


class Place:
    """Just enough of a world to write recipes for it."""

    seed = 3
    digest = ""
    tasks = (Task("a", "one"), Task("b", "two"), Task("c", None))
    others = (Trained(PRETRAINED, None, 0, 0.0), Trained(JOINT, None, 9, 0.0))

    def __init__(self, *sizes: int) -> None:
        self.experts = [Trained(name, None, size, 0.0) for name, size in zip(("one", "two"), sizes, strict=True)]


SEARCH = Search(0.2, 5.0)


def searched(worth, budget: int) -> dict[float, float]:
    tried: dict[float, float] = {}
    while (value := SEARCH.next(tried, budget)) is not None:
        assert value not in tried
        tried[value] = worth(value)
    return tried


@pytest.mark.parametrize("budget", [2, 3, 4, 7, 10, 14])
@pytest.mark.parametrize("top", [0.2, 0.31, 1.0, 2.4, 5.0])
def test_every_search_tries_exactly_its_budget_within_the_range(budget: int, top: float):
    tried = searched(lambda value: -abs(math.log(value / top)), budget)
    assert len(tried) == budget
    assert min(tried) == 0.2 and max(tried) == 5.0


def test_a_search_comes_near_the_best_value():
    for top in (0.25, 0.7, 1.6, 4.0):
        tried = searched(lambda value, top=top: -abs(math.log(value / top)), 12)
        assert abs(math.log(best(tried) / top)) < math.log(1.25)


def test_of_equal_values_the_smallest_is_taken():
    assert best({2.0: 0.5, 1.0: 0.5, 3.0: 0.4}) == 1.0


def test_a_search_ends_where_three_digits_tell_no_more_values_apart():
    assert 18 < len(searched(lambda value: 0.0, 40)) < 40


@pytest.mark.parametrize(
    ("written", "name", "fixed", "searches"),
    [
        ("ties", "ties", {}, True),
        ("merge/tsv_m", "tsv_m", {}, True),
        (" ties( density = 0.1 ) ", "ties(density=0.1)", {"density": 0.1}, True),
        ("tsv_m(scale=1.0)", "tsv_m(scale=1.0)", {"scale": 1.0}, False),
        ("karcher", "karcher", {}, False),
    ],
)
def test_a_method_is_written_as_a_person_would(written, name, fixed, searches):
    one = merged(written)
    assert (one.id, dict(one.kind.fixed), one.kind.search is not None) == (name, fixed, searches)
    assert one.uses == (("validation labels",) if searches else ("nothing",))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("tie", "did you mean 'ties'"),
        ("slerp", "takes one model beside the base"),
        ("nuslerp", "takes 2 models"),
        ("ties(densty=0.1)", "has no parameter 'densty'"),
        ("ties(density)", "a parameter is set like"),
        ("ties(density=0.1", "is not the name of a method"),
    ],
)
def test_what_cannot_take_part_is_told(written, words):
    with pytest.raises(LigateError, match=words):
        merged(written)


def test_the_baselines_are_always_there():
    names = [one.id for one in contestants(Place(5, 5), ["ties", AVERAGE])]
    assert names == [
        "pretrained",
        "best-single",
        "individual",
        "joint",
        "average",
        "ties",
        "ensemble-logits",
        "ensemble-probabilities",
    ]


def test_where_experts_saw_different_amounts_sizes_count_too():
    names = [one.id for one in contestants(Place(5, 7), [])]
    assert names[-5:] == [
        "average-sized",
        "ensemble-logits",
        "ensemble-probabilities",
        "ensemble-logits-sized",
        "ensemble-probabilities-sized",
    ]


def test_a_recipe_is_one_that_ligate_reads():
    paths = {"one": "x/one", "two": "x/two", PRETRAINED: "x/base"}
    recipe = parse_text(recipe_text(merged("ties(density=0.1)").kind, Place(1, 3), 0.5, paths))
    step = recipe.steps[0]
    assert (step.method, step.base, step.models, recipe.seed) == ("merge/ties", PRETRAINED, ("one", "two"), 3)
    assert {one.name: one.value for one in step.settings} == {"density": 0.1, "scale": 0.5}
    sized = yaml.safe_load(recipe_text(averaged(by_size=True).kind, Place(1, 3), None, paths))
    assert sized["merge"]["parameters"]["weight"] == {"one": 1.0, "two": 3.0}
    assert PRETRAINED not in sized["sources"]


RULES = [card for card in cards() if SCALE in card.params and card.models[1] is None and card.base == "required"]


@pytest.mark.parametrize("card", RULES, ids=lambda card: card.id)
def test_scale_is_a_factor_of_what_is_added(card):
    """A search merges once, at scale 1, and goes so many times as far."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(24, 32, dtype=torch.float64, generator=generator)
    tuned = torch.stack([base + 0.1 * torch.randn(24, 32, dtype=torch.float64, generator=generator) for _ in range(3)])
    steps = {"steps": 3} if "steps" in card.params else {}
    where = {"site": site("w", base.shape, "abc")} if card.id.rpartition("/")[2][:4] in ("dare", "dell") else {}
    one, far = (card.function(base, tuned, scale=scale, **steps, **where) - base for scale in (1.0, 2.5))
    torch.testing.assert_close(far, 2.5 * one, rtol=1e-9, atol=1e-12)


def test_a_rule_without_a_search_keeps_its_own_default():
    text = recipe_text(Rule("merge/tsv_m"), Place(1, 1), None, {"one": "1", "two": "2", PRETRAINED: "0"})
    assert "parameters" not in text


def test_a_learned_merge_is_written_like_a_rule():
    one = merged("learn/atlas(steps=20, per_class=16)")
    assert one.kind == Taught("atlas", {"steps": 20}, per_class=16)
    assert (one.id, one.uses) == ("learn/atlas(steps=20,per_class=16)", ("validation labels",))
    assert merged("learn/adamerging").uses == ("unlabelled inputs",)
    assert merged("learn/neulig(by_size=true)").kind == Taught("neulig", by_size=True)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("learn/adamergin", "no preset 'adamergin'"),
        ("learn/atlas(step=20)", "no parameter `step`"),
        ("learn/atlas(steps=0)", "at least 1"),
        ("learn/atlas(batch=0)", "`batch` is 0, and counts examples"),
        ("learn/atlas(by_size=true)", "no gate"),
        ("learn/neulig(by_size=3)", "`by_size` is 3"),
    ],
)
def test_a_learned_merge_that_cannot_be_is_told(written: str, told: str):
    with pytest.raises(RecipeError, match=told):
        merged(written)
