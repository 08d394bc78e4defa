"""`search:` as people write it, right and wrong."""

from __future__ import annotations

import pytest

from ligate.core.errors import LigateError
from ligate.core.space import Among, Between, Sought
from ligate.methods import _catalogue
from ligate.recipe.parse import draft_text, parse_text
from ligate.recipe.review import review
from ligate.recipe.searching import somewhere, space, start

MERGE = """\
sources: {base: ./base, a: ./a, b: ./b}
merge:
  method: ties
  base: base
  models: [a, b]
"""


def parsed(search, parameters=""):
    return parse_text(f"{MERGE}{parameters}search:\n  parameters:\n{search}", "my.yaml")


def complaints(search, parameters="", method="ties"):
    text = f"{MERGE}{parameters}search:\n  parameters:\n{search}".replace("ties", method)
    recipe = draft_text(text, "my.yaml")
    return "\n".join(map(str, [*recipe.problems, *review(recipe, _catalogue.load)]))


def test_every_kind_of_parameter_is_read():
    found = parsed(
        """\
    density: {low: 0.05, high: 0.9, log: true, knots: 3}
    scale: {low: 0.3, high: 3}
    weight: {low: 0, high: 1, per: model}
  sampler: random
  budget: 7
  seed: 2
  front: true
"""
    ).search
    assert found.space == (
        Sought("density", Between(0.05, 0.9, log=True), knots=3),
        Sought("scale", Between(0.3, 3)),
        Sought("weight", Between(0, 1), models=("a", "b")),
    )
    assert (found.sampler, found.budget, found.seed, found.front) == ("random", 7, 2, True)
    assert str(found.places["scale"]) == "my.yaml:9"


def test_choices_and_defaults_are_read():
    found = parsed("    tie: {choices: [sum, count]}\n").search
    assert found.space == (Sought("tie", Among(("sum", "count"))),)
    assert (found.sampler, found.budget, found.seed, found.front) == ("tpe", 50, 0, False)


def test_a_recipe_without_a_search_has_none():
    assert parse_text(MERGE, "my.yaml").search is None


def test_a_sound_search_has_no_complaints():
    assert complaints("    density: {low: 0.05, high: 0.9}\n    scale: {low: 0.3, high: 3, knots: 4}\n") == ""


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("    density: {low: 0.05}\n", "my.yaml:8: `density` has no `high:`"),
        ("    density: {low: 0.9, high: 0.1}\n", "my.yaml:8: `low: 0.9` must be less than"),
        ("    density: {low: 0, high: 1, log: true}\n", "my.yaml:8: `low: 0` must be greater than 0"),
        ("    density: {low: 0, high: 1, choices: [1, 2]}\n", "my.yaml:8: both `choices` and `low`"),
        ("    density: {choices: [0.1]}\n", "my.yaml:8: [0.1] are no choices"),
        ("    density: {low: 0, high: 1, per: layer}\n", "my.yaml:8: `per` is `model` or left out"),
        ("    density: {low: 0, high: 1, knots: 0}\n", "my.yaml:8: `knots` must be at least 1"),
        ("    density: {low: 0, hihg: 1}\n", "my.yaml:8: `density` of a search has no key `hihg`"),
        ("    density: 0.2\n", "my.yaml:8: `density` of a search must be a mapping"),
        ("    density: {low: 0, high: 1}\n  sampler: tpa\n", "my.yaml:9: there is no sampler 'tpa'"),
        ("    density: {low: 0, high: 1}\n  budget: 0\n", "my.yaml:9: `budget` must be at least 1"),
        ("    density: {low: 0, high: 1}\n  front: yes please\n", "my.yaml:9: `front` must be true or false"),
        ("    density: {low: 0, high: 1.5}\n", "my.yaml:8: `density` must be in"),
        ("    densty: {low: 0, high: 1}\n", "my.yaml:8: `merge/ties` has no parameter `densty`"),
        ("    normalize: {low: 0, high: 1}\n", "my.yaml:8: `normalize` must be true or false"),
        ("    scope: {choices: [tensor, many]}\n", "my.yaml:8: `scope` must be one of"),
        (
            "    scale: {low: 0, high: 1, per: model}\n",
            "my.yaml:8: `scale` of `merge/ties` is one value",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(search, words):
    assert complaints(search).startswith(words)


def test_a_search_without_parameters_and_one_of_several_steps_are_told():
    text = f"{MERGE}search: {{budget: 5}}\n"
    assert "`search` names no `parameters:`" in str(draft_text(text, "my.yaml").problems[0])
    steps = MERGE.replace("merge:\n  method", "steps:\n- name: one\n  method") + (
        "- {method: linear, models: [one, a]}\nsearch:\n  parameters:\n    weight: {low: 0, high: 1}\n"
    )
    with pytest.raises(LigateError, match="several steps"):
        parse_text(steps, "my.yaml")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("density: [0.1, 0.9]", "my.yaml:6: `density` is looked for, and a list over the layers sets it"),
        ("density: [{match: '*.mlp.*', value: 0.1}, 0.2]", "a pattern sets it"),
        ("density: {a: 0.1, b: 0.2}", "`a` has a value of its own"),
        ("density: 0.01", "0.01 lies outside of the search"),
    ],
)
def test_what_the_step_says_of_a_sought_parameter_must_be_a_beginning(parameters, words):
    assert words in complaints("    density: {low: 0.05, high: 0.9}\n", f"  parameters: {{{parameters}}}\n")


def test_a_search_begins_where_the_step_is_or_at_the_default():
    recipe = parsed(
        """
    density: {low: 0.05, high: 0.9}
    scale: {low: 2, high: 3}
    weight: {low: 0, high: 2, per: model, knots: 2}
""",
        "  parameters: {density: 0.4, weight: {a: 0.5}}\n",
    )
    card = _catalogue.load("ties")
    sought = space(recipe.search, card)
    begin = start(recipe.steps[0], sought, card)
    default = card.params["weight"].default
    assert begin == {
        "density": 0.4,
        "weight.a[0]": 0.5, "weight.a[1]": 0.5, "weight.b[0]": default, "weight.b[1]": default,
    }  # fmt: skip
    assert somewhere(sought, begin) == {**begin, "scale": 2}


def test_a_parameter_of_whole_numbers_is_sought_among_them():
    text = MERGE.replace("ties", "opcm") + "search:\n  parameters:\n    seen: {low: 1, high: 4}\n"
    recipe = parse_text(text, "my.yaml")
    assert space(recipe.search, _catalogue.load("opcm")) == (Sought("seen", Between(1, 4, whole=True)),)
