"""Methods by id. A built-in id is the path of its file (`merge/ties`); nothing is listed anywhere else.

Methods of other people come from an installed package (entry point group `ligate.methods`, whose name is the id) or
from a Python file (`load_plugin`), under the id `plugin/<function>`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Card
from ligate.core.suggest import nearest

GROUP = "ligate.methods"
_HERE = Path(__file__).parent
_plugins: dict[str, Card] = {}  # loaded from files in this process


def ids() -> tuple[str, ...]:
    """Every known id, in alphabetical order; nothing is imported for it."""
    return tuple(sorted({*_built_in(), *_installed(), *_plugins}))


def load(name: str) -> Card:
    """The card of a method by its id, or the id's last part (`ties`) while only one method has it.

    Raises:
        RecipeError: no method is called so (the nearest name is suggested), or several are.
    """
    full = _full(name)
    if full in _plugins:
        return _plugins[full]
    if full in _built_in():
        module = importlib.import_module("." + full.replace("/", "."), __package__)
        return getattr(module, full.rpartition("/")[2]).card
    return _card_of(_installed()[full])


def load_plugin(path: str | Path) -> tuple[Card, ...]:
    """Cards of all methods that a Python file defines. The file is run: it is the user's own code.

    Raises:
        RecipeError: there is no such file, it fails, or it defines no method.
    """
    file = Path(path)
    if not file.is_file():
        raise RecipeError(f"there is no file '{file}'", hint="`--plugin` takes the path of a Python file.")
    cards = _cards_in(file)
    if not cards:
        raise RecipeError("defines no method", where=str(file), hint="decorate a function with `@method(...)`.")
    _plugins.update({card.id: card for card in cards})
    return cards


def _full(name: str) -> str:
    known = ids()
    if name in known:
        return name
    fitting = [one for one in known if one.rpartition("/")[2] == name]
    if len(fitting) > 1:
        raise RecipeError(f"'{name}' may be {' or '.join(fitting)}", hint="write the whole id.")
    if not fitting and name.startswith("learn/"):
        hint = (
            "`ligate merge RECIPE OUT` learns by a recipe with `data:`, and writes an ordinary one, "
            "OUT.learned/recipe.yaml, that can be explained, changed and merged: see docs/learned.md."
        )
        raise RecipeError(f"'{name}' is no rule: it learns one from data", hint=hint)
    if not fitting:
        short = {one.rpartition("/")[2] for one in known} if "/" not in name else known
        raise RecipeError(f"there is no method '{name}'", hint=nearest(name, short))
    return fitting[0]


@cache
def _built_in() -> frozenset[str]:
    files = (file.relative_to(_HERE) for file in _HERE.glob("*/*.py"))
    return frozenset(
        file.with_suffix("").as_posix() for file in files if file.name[0] != "_" and not file.stem.endswith("_test")
    )


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Entry points by id; a built-in method is never replaced by one."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in _built_in()}


def _card_of(entry: EntryPoint) -> Card:
    try:
        card = getattr(entry.load(), "card", None)
    except Exception as error:  # whatever foreign code raises while it is imported
        raise RecipeError(f"cannot be loaded: {error}", where=f"method {entry.name} ({entry.value})") from error
    if not isinstance(card, Card):
        raise RecipeError("is no function decorated with `@method`", where=f"method {entry.name} ({entry.value})")
    return replace(card, id=entry.name)


def _cards_in(file: Path) -> tuple[Card, ...]:
    name = f"plugin.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RecipeError("is no Python file", where=str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except LigateError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise RecipeError(f"fails: {type(error).__name__}: {error}", where=str(file)) from error
    cards = (getattr(value, "card", None) for value in vars(module).values())
    return tuple(card for card in cards if isinstance(card, Card) and card.function.__module__ == name)
