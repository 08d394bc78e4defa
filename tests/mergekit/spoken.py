"""A mergekit config as a recipe, or as the error that it is."""

from __future__ import annotations

from textwrap import dedent

import pytest

from ligate.core.errors import LigateError
from ligate.recipe.parse import parse_text
from ligate.recipe.schema import Recipe


def parsed(text: str) -> Recipe:
    return parse_text(dedent(text), "merge.yml")


def told(text: str) -> str:
    with pytest.raises(LigateError) as caught:
        parsed(text)
    return str(caught.value)


def settings(recipe: Recipe, name: str) -> list[tuple[object, str | None, str | None]]:
    return [(one.value, one.model, one.match) for one in recipe.steps[-1].settings if one.name == name]
