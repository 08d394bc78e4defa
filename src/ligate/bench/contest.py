"""A contest in one world: each contestant chooses its coefficient on `validation` and is asked all other papers.

While a coefficient is looked for, merges stay in memory; the chosen one is merged on disk by its recipe, in a process
of its own, and what is scored is that folder. Answers are kept by what decides them, so a run that was killed goes on
where it was and a second run gives the same numbers. Whatever goes wrong with a contestant is its own row's failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.bench import contestants as kinds
from ligate.bench.contestants import Contestant, recipe_text
from ligate.bench.kept import digest_of, engine_digest, folder_digest, remembered_values, write_whole
from ligate.bench.learning import learned, learning_digest
from ligate.bench.lessons import Teaching
from ligate.bench.merging import Merged, in_memory, on_disk
from ligate.bench.results import Cell, Cost, Point, Row
from ligate.bench.statistics import means
from ligate.bench.suite import PRETRAINED, VALIDATION, Metric, Request, State, Teller, Trained, Values, World
from ligate.core.errors import InputError, LigateError
from ligate.recipe.parse import parse_text
from ligate.verbs.rebuilding import along

if TYPE_CHECKING:
    from torch import Tensor

Answers = dict[str, "dict[str, Tensor]"]


def play(world: World, takes_part: Sequence[Contestant], request: Request, metric: Metric, tell: Teller) -> list[Cell]:
    """A cell for each contestant, in their order."""
    arena = _Arena(world, request, 1.0 if metric.higher else -1.0, tell)
    cells: list[Cell] = []
    for number, contestant in enumerate(takes_part):
        tell.counts(f"seed {world.seed}: {contestant.title}", number, len(takes_part))
        cells.append(arena.cell(contestant))
    tell.counts(f"seed {world.seed}", len(takes_part), len(takes_part))
    return cells


def rows(takes_part: Sequence[Contestant], cells: Sequence[Sequence[Cell]]) -> list[Row]:
    """One row per contestant from its cells of all seeds."""
    return [
        Row(one.id, one.title, one.group, one.uses, one.coefficient, one.note, each)
        for one, each in zip(takes_part, cells, strict=True)
    ]


@dataclass
class _Arena:
    """One world, and where its merges and answers lie."""

    world: World
    request: Request
    sign: float  # 1 where more is better
    tell: Teller
    _one: tuple[kinds.Rule, State] | None = None  # the last merge of scale 1

    def cell(self, contestant: Contestant) -> Cell:
        try:
            return self._played(contestant)
        except LigateError as error:
            reason = str(error)
        except Exception as error:  # a rule may be anybody's code: its failure is a row of the table, not the end
            reason = f"{type(error).__name__}: {error}"
        self.tell.says(f"{contestant.title} failed with seed {self.world.seed}: {reason}")
        return Cell(self.world.seed, failed=reason)

    def _played(self, contestant: Contestant) -> Cell:
        match contestant.kind:
            case kinds.Stored(label):
                return Cell(self.world.seed, self._answers(label), cost=Cost(self._numbers, 1))
            case kinds.BestSingle():
                return Cell(self.world.seed, self._answers(self._best_single()), cost=Cost(self._numbers, 1))
            case kinds.Own():
                return Cell(self.world.seed, self._own(), cost=Cost(self._numbers * len(self.world.experts), 1))
            case kinds.Vote(how, by_size):
                count = len(self.world.experts)
                return Cell(self.world.seed, self._votes(how, by_size), cost=Cost(self._numbers * count, count))
            case kinds.Rule() as rule:
                return self._merged(contestant, rule)
            case kinds.Taught() as taught:
                return self._learned(contestant, taught)

    # Networks as they are

    @cached_property
    def trained(self) -> Mapping[str, Trained]:
        return {one.label: one for one in (*self.world.others, *self.world.experts)}

    @cached_property
    def digests(self) -> Mapping[str, str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads run
            found = pool.map(folder_digest, (one.folder for one in self.trained.values()))
            return dict(zip(self.trained, found, strict=True))

    @cached_property
    def _labels(self) -> Mapping[str, str]:
        """For recipes whose sources are in memory: each is found by its label."""
        return {label: label for label in self.trained}

    @property
    def budget(self) -> int:
        return self.request.budget

    @cached_property
    def _numbers(self) -> int:
        """Parameters of one network."""
        state = self.world.state(self.world.experts[0].label)
        return sum(value.numel() for value in state.values() if value.is_floating_point())

    @property
    def _scored(self) -> list[str]:
        return [paper for paper in self.world.papers() if paper != VALIDATION]

    def _asked(self, paper: str, key: Sequence[str], ask: Callable[[], Values]) -> dict[str, Tensor]:
        name = digest_of([self.world.digest, paper, *key])
        return remembered_values(self.request.store / "answers", name, ask)

    def _answer(self, label: str, paper: str) -> dict[str, Tensor]:
        return self._asked(paper, [self.digests[label]], lambda: self.world.ask(self.world.state(label), paper))

    def _answers(self, label: str) -> Answers:
        return {paper: self._answer(label, paper) for paper in self._scored}

    def _own(self) -> Answers:
        """Each task by its own expert; tasks without one are left out, with their papers."""
        experts = {task.name: task.expert for task in self.world.tasks if task.expert}
        found: Answers = {}
        for paper in self._scored:
            asked = [task for task in self.world.papers()[paper].sources if task in experts]
            if asked:
                found[paper] = {task: self._answer(experts[task], paper)[task] for task in asked}
        return found

    def _best_single(self) -> str:
        worth = {one.label: self._worth(self._answer(one.label, VALIDATION)) for one in self.world.experts}
        return max(worth, key=lambda label: worth[label])

    def _votes(self, how: kinds.How, by_size: bool) -> Answers:
        experts = self.world.experts
        labels, weights = [one.label for one in experts], [float(one.size) if by_size else 1.0 for one in experts]
        key = ["vote", how, *map(str, weights), *(self.digests[label] for label in labels)]
        return {
            paper: self._asked(paper, key, lambda paper=paper: self.world.vote(labels, weights, how, paper))
            for paper in self._scored
        }

    # Merges

    def _merged(self, contestant: Contestant, rule: kinds.Rule) -> Cell:
        curve = self._searched(rule, rule.search) if rule.search else []
        chosen = kinds.best({point.value: self.sign * point.mean for point in curve}) if curve else None
        at_edge = rule.search is not None and chosen in (rule.search.low, rule.search.high)
        found, cost = self._scored_on_disk(contestant.id, rule, chosen)
        return Cell(self.world.seed, found, chosen, sorted(curve), at_edge, cost)

    def _searched(self, rule: kinds.Rule, search: kinds.Search) -> list[Point]:
        """Every coefficient tried, with its scores on validation."""
        curve: list[Point] = []
        while (value := search.next({point.value: self.sign * point.mean for point in curve}, self.budget)) is not None:
            curve.append(Point(value, means(self._tried(rule, value))))
        return curve

    def _tried(self, rule: kinds.Rule, value: float) -> Values:
        text = recipe_text(rule, self.world, value, self._labels)
        key = ["merge", text, engine_digest(), *self._inputs(text)]
        return self._asked(VALIDATION, key, lambda: self.world.ask(self._scaled(rule, value), VALIDATION))

    def _scaled(self, rule: kinds.Rule, scale: float) -> State:
        """What `scale` adds to the base is so many times what 1 adds, for every rule: one merge tells them all."""
        if self._one is None or self._one[0] is not rule:
            text = recipe_text(rule, self.world, 1.0, self._labels, dtype="float32")
            self._one = rule, in_memory(text, {label: self.world.state(label) for label in parse_text(text).sources})
        base = self.world.state(PRETRAINED)
        return {name: _along(base.get(name), one, scale) for name, one in self._one[1].items()}

    def _scored_on_disk(self, name: str, rule: kinds.Rule, chosen: float | None) -> tuple[Answers, Cost]:
        """Write the recipe, merge by it, ask the result."""
        place = self.request.out.absolute()
        recipe = place / "recipes" / f"seed-{self.world.seed}" / f"{_as_file(name)}.yaml"
        folders = {label: os.path.relpath(one.folder.absolute(), place) for label, one in self.trained.items()}
        text = recipe_text(rule, self.world, chosen, folders)
        write_whole(recipe, f"# From the folder of the results: ligate merge {recipe.relative_to(place)} OUT\n{text}")
        out = place / "merged" / f"seed-{self.world.seed}" / _as_file(name)
        known = recipe_text(rule, self.world, chosen, self._labels)
        note = self.request.store / "merges" / f"{digest_of([known, engine_digest(), *self._inputs(known)])}.json"
        done = _noted(note)
        if done is None or self.request.keep:
            done = on_disk(recipe.relative_to(place), out.relative_to(place), place)
            write_whole(note, json.dumps(done._asdict()))
        try:
            found = self._asked_of_merged(recipe, out, done)
        finally:
            if not self.request.keep:
                _forget(out)
        return found, Cost(self._numbers, 1, done.seconds, done.peak_bytes)

    def _asked_of_merged(self, recipe: Path, out: Path, done: Merged) -> Answers:
        """The merged folder is loaded once, and not at all where all its answers are known."""

        @cache
        def state() -> State:
            if not out.is_dir():  # merged by an earlier run that did not come to all papers
                place = self.request.out.absolute()
                on_disk(recipe.relative_to(place), out.relative_to(place), place)
            return self.world.loaded(out)

        return {
            paper: self._asked(paper, ["merged", done.digest], lambda paper=paper: self.world.ask(state(), paper))
            for paper in self._scored
        }

    # Learned merges

    def _learned(self, contestant: Contestant, taught: kinds.Taught) -> Cell:
        if not isinstance(self.world, Teaching):
            raise InputError("the networks of this suite cannot be asked with gradients", where=contestant.id,
                             hint="learned merges are played in debian4, debian8 and sametask.")  # fmt: skip
        lesson = self.world.lesson(taught.batch, taught.per_class)
        key = digest_of([str(taught), lesson.digest, self.world.digest, learning_digest(), *self.digests.values()])
        done = learned(self.world, lesson, taught, self.request.store / "learned" / f"{key}.pt", self.tell)
        found = {
            paper: self._asked(paper, ["learned", key], lambda paper=paper: self.world.ask(done.state, paper))
            for paper in self._scored
        }
        cost = Cost(self._numbers, 1, done.seconds)
        return Cell(self.world.seed, found, cost=cost, extras=done.extras)

    def _inputs(self, text: str) -> list[str]:
        """Digests of the networks that a recipe names."""
        return [self.digests[label] for label in parse_text(text).sources]

    def _worth(self, values: Values) -> float:
        each = means(values)
        return self.sign * sum(each.values()) / len(each)


def _along(base: Tensor | None, one: Tensor, scale: float) -> Tensor:
    """From the base so many times as far as `one` is, in the base's own type."""
    if base is None or not base.is_floating_point():
        return one
    return along(base, one, scale, base.dtype)


def _forget(out: Path) -> None:
    """A merged folder that has served, its log, and the folders it was alone in."""
    shutil.rmtree(out, ignore_errors=True)
    out.with_name(f"{out.name}.log.json").unlink(missing_ok=True)
    for folder in (out.parent, out.parent.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _noted(note: Path) -> Merged | None:
    """What an earlier run wrote down about the same merge."""
    try:
        return Merged(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name).strip("_")
