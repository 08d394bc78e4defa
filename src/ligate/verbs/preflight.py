"""All that can be known before the first tensor is read: plans of every step, cost, and whether there is room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ligate.core.errors import LigateError, StorageError
from ligate.core.method import Card
from ligate.core.tensors import Source
from ligate.engine.forecast import Forecast, forecast
from ligate.engine.plan import Plan
from ligate.io.publish import occupied
from ligate.recipe.configuration import config_edits
from ligate.recipe.resolve import compared, donor, resolve, step_order
from ligate.recipe.schema import Recipe, Step
from ligate.recipe.slices import labels

from .sources import Expected, flat, labels_of_step
from .workplace import log_of

Lookup = Callable[[str], Card]
SIDECARS = 64_000_000  # room for config, tokenizer, record and card


@dataclass(frozen=True)
class Stage:
    """One step with its plan and what it will cost."""

    step: Step
    plan: Plan
    digest: str  # of the plan
    forecast: Forecast


@dataclass(frozen=True)
class Planned:
    """All steps, and what the result's config.json must say differently from its donor's."""

    stages: tuple[Stage, ...]
    config_edits: Mapping[str, Any]
    notes: tuple[str, ...]


def plan_all(
    recipe: Recipe,
    sources: Mapping[str, Source],
    lookup: Lookup,
    found: list[LigateError],
    *,
    threads: int | None,
    memory: int | None,
) -> Planned | None:
    """Plan every step from headers; the results of earlier steps stand in by what their plans promise.

    None where a step cannot be planned. `found` then takes the reasons, and what else is wrong with its models and
    with the other steps.
    """
    known = dict(sources)
    stages: list[Stage] = []
    for step in step_order(recipe):
        needed = (*labels(step), *(spec.source for spec in step.measured))
        if not (step.whole and recipe.names_known and all(label in known for label in needed)):
            found += compared(recipe, step, known)
            continue
        try:
            plan = resolve(recipe, step, known, lookup)
            cost = forecast(plan, [known[label] for label in plan.sources], lookup, threads=threads, memory=memory)
        except LigateError as error:
            found += flat(error)
            continue
        stages.append(Stage(step, plan, plan.digest(), cost))
        for label in labels_of_step(recipe, step.name) if step.name else ():
            known[label] = Expected(label, plan, known[donor(recipe, step)].folder)
    whole = stages and len(stages) == len(recipe.steps)
    return _planned(recipe, tuple(stages), known, found) if whole else None


def _planned(
    recipe: Recipe, stages: tuple[Stage, ...], known: Mapping[str, Source], found: list[LigateError]
) -> Planned | None:
    try:
        edits = config_edits(recipe, recipe.steps[-1], known)
    except LigateError as error:
        found += flat(error)
        return None
    return Planned(stages, edits.values, edits.notes)


def guard_output(out: Path, sources: Mapping[str, Source], needed: int, *, overwrite: bool) -> list[LigateError]:
    """What speaks against this output: it is in use, cannot be written, is an input, does not fit. Creates nothing."""
    found = [occupied(out, overwrite), _log_in_the_way(out), _unwritable(out), _is_source(out, sources)]
    free = free_bytes(out)
    if needed > free:
        text = f"{_spoken(needed)} are needed, {_spoken(free)} are free"
        found.append(StorageError(text, where=str(out), hint="make room, or write to another disk."))
    return [error for error in found if error]


def bytes_needed(planned: tuple[Stage, ...]) -> int:
    """Results of earlier steps stay until the last one is done."""
    return sum(stage.forecast.written for stage in planned) + SIDECARS


def free_bytes(out: Path) -> int:
    return shutil.disk_usage(_standing(out)).free


def _spoken(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def _log_in_the_way(out: Path) -> LigateError | None:
    log = log_of(out)
    if log.is_dir():
        return StorageError("is a folder; the log of the merge goes there", where=str(log), hint="move it away.")
    return None


def _unwritable(out: Path) -> LigateError | None:
    parent = _standing(out.parent)
    if not parent.is_dir():
        return StorageError("is no folder", where=str(parent), hint="choose another output.")
    if not os.access(parent, os.W_OK | os.X_OK):
        return StorageError("cannot be written to", where=str(parent), hint="choose another output.")
    return None


def _is_source(out: Path, sources: Mapping[str, Source]) -> LigateError | None:
    """Replacing a folder that is being read would destroy an input."""
    place = out.resolve()
    for source in sources.values():
        files = [one for path in source.files() for one in (path.absolute(), path.resolve())]  # a link and its end
        if any(place in (path, *path.parents) for path in files):
            hint = "choose another folder for the output."
            return StorageError(f"is also the input {source.label}", where=str(out), hint=hint)
    return None


def _standing(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
