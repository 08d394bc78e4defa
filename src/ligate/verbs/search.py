"""Search for the parameters of a merge that do best on the user's own tasks, then merge by them.

No trial is written as a checkpoint: models are read once, and merged in memory for every trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import RecipeError, raise_all
from ligate.core.space import Point, Sampler, Sought, as_data, parameters
from ligate.engine.device import check_device
from ligate.learn import search as searches
from ligate.learn.front import Goal
from ligate.learn.search import Found
from ligate.learn.trials import Trial
from ligate.recipe.review import review
from ligate.recipe.schema import Recipe, SearchSpec
from ligate.recipe.searching import somewhere, space, start, with_parameters

from .canonical import Lookup
from .execute import Merged
from .given import GivenRecipe, Size, given_bytes, given_recipe, lookup_with
from .judging import Judge, judge_of
from .merge import perform
from .rebuilding import Rebuilder
from .searched import SearchFolder, held
from .undertaking import How, Undertaking, undertaking
from .watch import Nobody, Watch

MEAN = "mean of the tasks"


@dataclass(frozen=True)
class Searched:
    """What was found: the parameters that OUT was merged by, their values, and those on examples that chose nothing."""

    merged: Merged
    folder: str
    parameters: Mapping[str, Any]
    values: Mapping[str, float]
    checked: Mapping[str, float]
    trials: int
    failed: int
    front: int


@dataclass(frozen=True)
class Overruled:
    """What a caller wants differently from what the recipe's `search:` says; None leaves it as it is."""

    sampler: Sampler | None = None
    budget: int | None = None
    seed: int | None = None
    front: bool | None = None

    def of(self, spec: SearchSpec) -> SearchSpec:
        wanted = {name: value for name, value in vars(self).items() if value is not None}
        return replace(spec, **wanted)


def search(
    recipe: GivenRecipe,
    out: str | PathLike[str],
    *,
    judge: Judge | None = None,
    overruled: Overruled = Overruled(),
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    plugins: Sequence[str | PathLike[str]] = (),
    watch: Watch | None = None,
) -> Searched:
    """Search what the recipe's `search:` says, then merge by the best into the folder `out`.

    Half of the examples of the recipe's `data:` choose (`share` says how many); the best is asked about the other half
    at the end. A `judge` may stand in for them. What was tried lies in `OUT.search`: a search that was stopped goes on
    when it is called again, with `overwrite` it begins anew.

    Memory: all models of the merge, the weights that are tried (where `scale` is sought twice, once in float32), and
    the network that answers.

    Raises:
        RecipeError, InputError, NonFiniteError, StorageError, Problems: as `merge`; or no trial succeeded.
    """
    check_device(device)
    how = How(
        threads=threads,
        memory=None if memory is None else given_bytes(memory),
        overwrite=overwrite,
        device=device,
        plugins=tuple(str(Path(plugin).absolute()) for plugin in plugins),
    )
    lookup, watch = lookup_with(how.plugins), watch or Nobody()
    quest = _quest(given_recipe(recipe), overruled, lookup)
    with held(Path(out)) as folder:
        with undertaking(quest.somewhere(), Path(out), how, lookup) as job:
            judge = judge or judge_of(quest.recipe, job)
            if overwrite:
                folder.forget()
            done = _found(quest, job, judge, folder, watch)
            alignments = job.alignments
        folder.write(done.found, quest.space, lambda point: _ordinary(quest, done, point), lookup)
        best = done.found.best
        merged = perform(_ordinary(quest, done, best.point), Path(out), how, lookup, watch, alignments)
    values = parameters(quest.space, best.point)
    counts = (len(done.found.trials), done.found.failed, len(done.found.front))
    return Searched(merged, str(folder.path), values, best.values, done.checked, *counts)


@dataclass(frozen=True)
class _Quest:
    """A search before a model is opened."""

    recipe: Recipe
    spec: SearchSpec
    space: Sequence[Sought]
    begin: Point

    def somewhere(self) -> Recipe:
        """An ordinary recipe within the space, by which the merge is checked and planned."""
        return self.at(somewhere(self.space, self.begin))

    def at(self, point: Point) -> Recipe:
        return replace(with_parameters(self.recipe, parameters(self.space, point)), data=None)


@dataclass(frozen=True)
class _Done:
    found: Found
    checked: Mapping[str, float]
    account: Mapping[str, Any]


def _quest(recipe: Recipe, overruled: Overruled, lookup: Lookup) -> _Quest:
    """What is looked for, and where that begins.

    Raises:
        RecipeError, Problems: the recipe has no `search:`, or something is wrong with it.
    """
    raise_all([*recipe.problems, *review(recipe, lookup)])
    if recipe.search is None:
        hint = "for example `search: {parameters: {scale: {low: 0.3, high: 3, log: true}}, budget: 30}`."
        raise RecipeError("the recipe has no `search:`", where=str(recipe.steps[-1].place), hint=hint)
    card, spec = lookup(recipe.steps[-1].method), overruled.of(recipe.search)
    sought = space(spec, card)
    return _Quest(recipe, spec, sought, start(recipe.steps[-1], sought, card))


def _found(quest: _Quest, job: Undertaking, judge: Judge, folder: SearchFolder, watch: Watch) -> _Done:
    """Every trial, and the best asked once more on what chose nothing."""
    spec, rebuilder = quest.spec, _rebuilder(quest, job)
    goals = [Goal(task, judge.higher) for task in judge.tasks] if spec.front else [Goal(MEAN, judge.higher)]
    about = {"plan": job.stages[-1].digest, "models": rebuilder.digests(), **judge.about}
    watch.begin_steps("searching", spec.budget)
    try:
        found = searches.search(
            quest.space,
            lambda point: _with_mean(judge.ask(rebuilder.merged(parameters(quest.space, point)))),
            objectives=goals,
            sampler=spec.sampler,
            budget=spec.budget,
            seed=spec.seed,
            start=quest.begin,
            kept=folder.trials,
            about=about,
            tell=_Teller(watch, goals),
        )
    except KeyboardInterrupt as stop:
        stop.add_note("what was tried is kept; the same command goes on with it.")
        raise
    finally:
        watch.end()
    best = rebuilder.merged(parameters(quest.space, found.best.point)) if judge.check else {}
    checked = _with_mean(judge.check(best)) if judge.check else {}
    return _Done(found, checked, _account(quest, found, judge))


def _rebuilder(quest: _Quest, job: Undertaking) -> Rebuilder:
    return Rebuilder(quest.somewhere(), job.stages[-1].plan, job.sources, job.lookup, job.how.threads)


def _with_mean(told: Mapping[str, float]) -> dict[str, float]:
    return {MEAN: sum(told.values()) / len(told), **told} if told else {}


def _ordinary(quest: _Quest, done: _Done, point: Point) -> Recipe:
    """The recipe of a point of the front; its account says which of the points it is."""
    trial = next(trial for trial in done.found.trials if trial.point == point)
    told = {"chosen": {"trial": trial.number, "values": dict(trial.values)}}
    checked = {"checked": dict(done.checked)} if trial.point == done.found.best.point and done.checked else {}
    return replace(quest.at(point), learned={"search": {**done.account, **told, **checked}})


def _account(quest: _Quest, found: Found, judge: Judge) -> dict[str, Any]:
    """For records: what was looked for, where, how and from what. No text, no path, no time."""
    spec = quest.spec
    return {
        "space": as_data(quest.space),
        "sampler": spec.sampler,
        "budget": spec.budget,
        "seed": spec.seed,
        "goals": [{"name": goal.name, "better": "higher" if goal.higher else "lower"} for goal in found.goals],
        "trials": len(found.trials),
        "evaluated": sum(trial.again is None for trial in found.trials),
        "failed": found.failed,
        "front": len(found.front),
        **judge.about,
    }


class _Teller:
    """Tells whoever watches what every trial is worth, and the best so far; of failures the first reason."""

    def __init__(self, watch: Watch, goals: Sequence[Goal]) -> None:
        self._watch, self._goals = watch, goals
        self._best: Trial | None = None
        self._failed = 0

    def __call__(self, trial: Trial) -> None:
        if trial.failed:
            self._failed += 1
            if self._failed == 1:
                self._watch.note(f"trial {trial.number} failed, the search goes on: {trial.failed}")
        elif self._best is None or self._gain(trial) > self._gain(self._best):
            self._best = trial
        worth = "failed" if trial.failed else self._worth(trial)
        best = f"; best {self._worth(self._best)} in trial {self._best.number}" if self._best else ""
        failed = f"; {self._failed} failed" if self._failed else ""
        self._watch.step(trial.number + 1, f"{worth}{best}{failed}")

    def _gain(self, trial: Trial) -> float:
        return sum(goal.gain(trial.values) for goal in self._goals)

    def _worth(self, trial: Trial) -> str:
        if len(self._goals) == 1:
            return f"{trial.values[self._goals[0].name]:.4g}"
        return ", ".join(f"{goal.name} {trial.values[goal.name]:.4g}" for goal in self._goals)
