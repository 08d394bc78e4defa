"""What was searched for an output: `OUT.search`, a sibling of it.

OUT.search/trials.jsonl   every trial, as soon as it is known: a search that was stopped goes on from here
OUT.search/recipe.yaml    the ordinary recipe of the best, by which OUT was merged
OUT.search/trials.svg     one goal: its values, trial by trial
OUT.search/front.json     several goals: the points that no other beats, the knee marked; front.svg is their picture
OUT.search/front/N.yaml   an ordinary recipe of each of these points
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ligate.core.errors import StorageError
from ligate.core.space import Point, Space, parameters
from ligate.io.ranges import cannot_write, lock
from ligate.learn.search import Found
from ligate.recipe.schema import Recipe

from .canonical import Located, Lookup, as_yaml, canonical
from .search_plot import picture
from .sources import absolute
from .workplace import beside, write_text

_TRIALS, _LOCK, _FRONT = "trials.jsonl", "lock", "front"
_OURS = frozenset({_TRIALS, _LOCK, _FRONT, "recipe.yaml", "trials.svg", "front.json", "front.svg"})


class SearchFolder:
    """The folder of one search."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / _TRIALS

    def forget(self) -> None:
        """Throw away the trials that lie here."""
        self.trials.unlink(missing_ok=True)

    def write(self, found: Found, space: Space, at: Callable[[Point], Recipe], lookup: Lookup) -> None:
        """Recipes, front and picture; `at` makes the ordinary recipe of a point."""
        several = len(found.goals) > 1
        self._recipe("recipe.yaml", at(found.best.point), lookup)
        write_text(self.path / ("front.svg" if several else "trials.svg"), picture(found))
        if several:
            self._front(found, space, at, lookup)

    def _front(self, found: Found, space: Space, at: Callable[[Point], Recipe], lookup: Lookup) -> None:
        shutil.rmtree(self.path / _FRONT, ignore_errors=True)
        (self.path / _FRONT).mkdir()
        goals = [{"name": goal.name, "better": "higher" if goal.higher else "lower"} for goal in found.goals]
        points: list[dict[str, Any]] = []
        for number, trial in enumerate(sorted(found.front, key=lambda one: found.goals[0].gain(one.values)), 1):
            name = f"{_FRONT}/{number}.yaml"
            self._recipe(name, at(trial.point), lookup)
            points.append({"recipe": name, "trial": trial.number, "knee": trial is found.best,
                           "values": trial.values, "parameters": parameters(space, trial.point)})  # fmt: skip
        told = {"goals": goals, "trials": len(found.trials), "points": points}
        write_text(self.path / "front.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")

    def _recipe(self, name: str, recipe: Recipe, lookup: Lookup) -> None:
        write_text(self.path / name, as_yaml(canonical(recipe, lookup, _absolute)))


@contextmanager
def held(out: Path) -> Generator[SearchFolder]:
    """`OUT.search`, locked while we work in it; gone again where nothing was written there.

    Raises:
        StorageError: somebody else works there, or it is not ours, or cannot be written.
    """
    folder = SearchFolder(beside(out, ".search"))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        found = {one.name for one in folder.path.iterdir() if not one.name.startswith(".")}
        if found - _OURS:
            hint = "move it away."
            raise StorageError("is in the way and was not made by Ligate", where=str(folder.path), hint=hint)
        fd = os.open(folder.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    if not lock(fd):
        os.close(fd)
        hint = "wait for it, or choose another output."
        raise StorageError("another process is searching for this output", where=str(folder.path), hint=hint)
    try:
        yield folder
    finally:
        if {one.name for one in folder.path.iterdir()} == {_LOCK}:
            shutil.rmtree(folder.path, ignore_errors=True)
        os.close(fd)


def _absolute(spec: Located, label: str) -> str:
    return absolute(spec.path)
