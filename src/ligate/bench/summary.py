"""From results to the numbers that terminal, page and sheets show: each with what can be said of it, and no more.

Scores stay in the metric's own numbers; `telling` turns them into what people read. Where a row failed on a seed, its
scores are means over the seeds that are left, and it is compared with another row on the seeds that both have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from ligate.bench import statistics
from ligate.bench.results import Cost, Results, Row
from ligate.bench.statistics import Estimate
from ligate.bench.suite import OUTSIDE, PRETRAINED, TEST, Group

if TYPE_CHECKING:
    from ligate.bench.statistics import Values

BASELINES = ("task_arithmetic", "average")
INDIVIDUAL = "individual"
CHANGED_PAPERS = ("typos", "dropped")
GROUPS: tuple[Group, ...] = ("reference", "merge", "ensemble")


class Chosen(NamedTuple):
    seed: int
    value: float
    at_edge: bool


class Failure(NamedTuple):
    seed: int
    reason: str


@dataclass(frozen=True)
class Line:
    """What is known of one row; None or nothing where it was not measured.

    Args:
        scores: task -> mean over seeds on the test paper.
        average: mean over all tasks; None for a row that did not answer all of them.
        against: this row minus the baseline.
        relative: task -> score over the score of the individual expert.
        closed: how much of the way from the pretrained network (0) to the individual experts (1) the average went.
        outside: mean over the tasks that were not merged, and what it changed from the pretrained network.
        robustness: paper -> what the average changes when the same questions are put with typos, or with gaps.
        cost: mean seconds, most memory.
        extras: further numbers; their intervals are about seeds alone.
    """

    row: Row
    scores: Mapping[str, float]
    average: Estimate | None
    against: Estimate | None
    relative: Mapping[str, float]
    closed: float | None
    outside: Estimate | None
    forgetting: Estimate | None
    robustness: Mapping[str, Estimate]
    cost: Cost | None
    chosen: Sequence[Chosen]
    failures: Sequence[Failure]
    extras: Mapping[str, Estimate]

    @property
    def relative_mean(self) -> float | None:
        """None unless it is over all tasks that this row answers."""
        whole = self.relative and len(self.relative) == len(self.scores)
        return sum(self.relative.values()) / len(self.relative) if whole else None


@dataclass(frozen=True)
class Summary:
    """Lines in the order of the results. `pairs` has every merge minus every later one, where both answered."""

    results: Results
    lines: Sequence[Line]
    baseline: Row | None
    pairs: Mapping[tuple[str, str], Estimate]

    def line(self, name: str) -> Line | None:
        return next((line for line in self.lines if line.row.id == name), None)

    def group(self, name: Group) -> list[Line]:
        return [line for line in self.lines if line.row.group == name]

    def difference(self, one: str, other: str) -> Estimate | None:
        """Of two merges."""
        if (one, other) in self.pairs:
            return self.pairs[one, other]
        turned = self.pairs.get((other, one))
        return turned and turned.scaled(-1)

    @property
    def leader(self) -> Line | None:
        """The merge whose average came out best, by whatever margin."""
        scored = [line for line in self.group("merge") if line.average]
        sign = 1 if self.results.metric.higher else -1
        return max(scored, key=lambda line: sign * line.average.mean if line.average else 0.0, default=None)

    @property
    def rivals(self) -> list[Line]:
        """The merges that the leader's lead over is not resolved."""
        first = self.leader
        others = [line for line in self.group("merge") if line.average and first and line is not first]
        return [line for line in others if first and not self._leads(first, line)]

    @property
    def best(self) -> Line | None:
        """The leader, if it is better than every other merge beyond chance, and the suite can rank at all."""
        alone = len(self.group("merge")) < 2
        return None if alone or self.rivals or not self.results.ranks else self.leader

    def _leads(self, one: Line, other: Line) -> bool:
        found = self.difference(one.row.id, other.row.id)
        return found is not None and found.resolved and (found.mean > 0) == self.results.metric.higher


def summarise(results: Results) -> Summary:
    """Everything that is shown of the rows."""
    baseline = next((row for row in map(results.row, BASELINES) if row and answers(results, row)), None)
    against = Pairs.of(results)
    lines = [_line(results, row, baseline, against) for row in results.rows]
    merges = [row for row in results.rows if row.group == "merge"]
    pairs = {(one.id, other.id): against.difference(one, other) for one, other in combinations(merges, 2)}
    return Summary(results, lines, baseline, {names: each for names, each in pairs.items() if each is not None})


def answers(results: Results, row: Row, paper: str = TEST) -> dict[int, Values]:
    """Seed -> what the row answered, for the seeds in which it answered every task of the paper."""
    tasks = list(results.papers[paper].sources) if paper in results.papers else []
    found = {cell.seed: cell.answers.get(paper, {}) for cell in row.done}
    whole = {seed: values for seed, values in found.items() if tasks and values.keys() >= set(tasks)}
    return {seed: {task: values[task] for task in tasks} for seed, values in whole.items()}


@dataclass(frozen=True)
class Pairs:
    """Rows against each other, question by question, over the seeds that both have."""

    results: Results
    averages: Mapping[str, Mapping[str, Mapping[int, float]]]  # paper -> row -> seed

    @classmethod
    def of(cls, results: Results) -> Pairs:
        return cls(
            results,
            {
                paper: {
                    row.id: {seed: _average(each) for seed, each in answers(results, row, paper).items()}
                    for row in results.rows
                }
                for paper in results.papers
            },
        )

    def difference(self, one: Row, other: Row, paper: str = TEST) -> Estimate | None:
        """The first minus the second; None if no seed has both.

        Merges share their experts, and with them most of what a seed brings: between two merges the seeds' variance is
        pooled over the merges, and over all rows otherwise.
        """
        mine, theirs = answers(self.results, one, paper), answers(self.results, other, paper)
        seeds = [seed for seed in mine if seed in theirs]
        if not seeds:
            return None
        groups: Sequence[Group] = ("merge",) if one.group == other.group == "merge" else GROUPS
        among = [self.averages[paper][row.id] for row in self.results.rows if row.group in groups]
        shared = statistics.pooled([[row[seed] for seed in seeds] for row in among if all(s in row for s in seeds)])
        sources = self.results.papers[paper].sources
        return statistics.difference([mine[s] for s in seeds], [theirs[s] for s in seeds], sources, shared)


def _line(results: Results, row: Row, baseline: Row | None, pairs: Pairs) -> Line:
    pretrained = results.row(PRETRAINED)
    compared = baseline is not None and baseline.id != row.id
    return Line(
        row,
        scores=_scores(results, row),
        average=estimate(results, row),
        against=pairs.difference(row, baseline) if compared and baseline else None,
        relative=_relative(results, row),
        closed=_closed(results, row),
        outside=estimate(results, row, OUTSIDE),
        forgetting=pairs.difference(row, pretrained, OUTSIDE) if pretrained and row is not pretrained else None,
        robustness={name: found for name in CHANGED_PAPERS if (found := _change(results, row, name)) is not None},
        cost=_cost(row),
        chosen=[Chosen(cell.seed, cell.chosen, cell.at_edge) for cell in row.done if cell.chosen is not None],
        failures=[Failure(cell.seed, cell.failed) for cell in row.cells if cell.failed],
        extras=_extras(row),
    )


def estimate(results: Results, row: Row, paper: str = TEST) -> Estimate | None:
    """Of the row's mean over the tasks of a paper."""
    found = answers(results, row, paper)
    return statistics.estimate(list(found.values()), results.papers[paper].sources) if found else None


def by_seed(row: Row, paper: str = TEST) -> Iterator[tuple[int, dict[str, float]]]:
    """Seed, and the score of each task that was answered."""
    for cell in row.done:
        if cell.answers.get(paper):
            yield cell.seed, statistics.means(cell.answers[paper])


def _scores(results: Results, row: Row) -> dict[str, float]:
    each = [scores for _, scores in by_seed(row)]
    return {task.name: _mean(found) for task in results.tasks if (found := _of(each, task.name))}


def _relative(results: Results, row: Row) -> dict[str, float]:
    expert = results.row(INDIVIDUAL)
    mine, theirs = dict(by_seed(row)), dict(by_seed(expert)) if expert else {}
    shared = [seed for seed in mine if seed in theirs]
    found: dict[str, float] = {}
    for task in (task.name for task in results.tasks):
        ratios = [
            mine[seed][task] / theirs[seed][task]
            for seed in shared
            if mine[seed].get(task) is not None and theirs[seed].get(task)
        ]
        if ratios:
            found[task] = _mean(ratios)
    return found


def _closed(results: Results, row: Row) -> float | None:
    ends = [results.row(PRETRAINED), results.row(INDIVIDUAL)]
    found = [answers(results, one) if one else {} for one in (*ends, row)]
    seeds = [seed for seed in found[2] if all(seed in each for each in found)]
    if not seeds or row in ends:
        return None
    low, high, here = (_mean([_average(each[seed]) for seed in seeds]) for each in found)
    return (here - low) / (high - low) if high != low else None


def _average(values: Values) -> float:
    return _mean(list(statistics.means(values).values()))


def _change(results: Results, row: Row, paper: str) -> Estimate | None:
    """From the test paper to another with the same tasks; question by question where these are the same."""
    plain, changed = answers(results, row), answers(results, row, paper)
    seeds = [seed for seed in changed if seed in plain]
    if not seeds or results.papers[paper].sources.keys() != results.papers[TEST].sources.keys():
        return None
    ours, theirs = [changed[seed] for seed in seeds], [plain[seed] for seed in seeds]
    here, there = results.papers[paper].sources, results.papers[TEST].sources
    if all(here[task].equal(there[task]) for task in here):
        return statistics.difference(ours, theirs, here)
    return statistics.apart(statistics.estimate(ours, here), statistics.estimate(theirs, there))


def _cost(row: Row) -> Cost | None:
    costs = [cell.cost for cell in row.done if cell.cost]
    if not costs:
        return None
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Cost(
        max(cost.parameters for cost in costs),
        max(cost.passes for cost in costs),
        _mean(seconds) if seconds else None,
        max(peaks, default=None),
    )


def _extras(row: Row) -> dict[str, Estimate]:
    names = dict.fromkeys(name for cell in row.done for name in cell.extras)
    return {name: _over_seeds([cell.extras[name] for cell in row.done if name in cell.extras]) for name in names}


def _over_seeds(values: Sequence[float]) -> Estimate:
    """One number per seed is one question with one answer per seed."""
    import torch

    each = [{"": torch.tensor([value], dtype=torch.float64)} for value in values]
    return statistics.estimate(each, {"": torch.tensor([0])})


def _of(each: Sequence[Mapping[str, float]], task: str) -> list[float]:
    return [scores[task] for scores in each if task in scores]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
