from __future__ import annotations

import pytest

from ligate.methods.merge.linear import linear
from ligate.methods.merge.passthrough import passthrough
from ligate.methods.merge.slerp import slerp
from ligate.methods.merge.ties import ties

from .parse import parse_text
from .review import review
from .write import commented_example


@pytest.mark.parametrize("function", [linear, slerp, ties, passthrough])
def test_an_example_is_a_recipe_without_problems_and_with_all_defaults(function):
    card = function.card
    recipe = parse_text(commented_example(card), "example.yaml")
    assert review(recipe, lambda _: card) == ()
    assert {setting.name: setting.value for setting in recipe.steps[0].settings} == {
        param.name: param.default for param in card.params.values()
    }


def test_an_example_takes_the_models_it_is_given():
    text = commented_example(ties.card, {"llama": "meta/llama", "yes": "./it's here", "7": "./b"})
    recipe = parse_text(text)
    assert {label: spec.path for label, spec in recipe.sources.items()} == {
        "llama": "meta/llama",
        "yes": "./it's here",
        "7": "./b",
    }
    assert recipe.steps[0].base == "llama"


def test_every_line_of_an_example_fits_the_screen():
    assert max(map(len, commented_example(linear.card).splitlines())) <= 120
