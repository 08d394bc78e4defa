"""What changed from one result to another: settings, facts, rows, and the average of each row that both have.

The same questions answered under the same seeds are compared answer by answer. Anything else is two separate
measurements, whose difference has a wider interval; and averages over different tasks, or of different metrics, have
no difference at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ligate.bench import statistics, summary, telling
from ligate.bench.results import Results, Row
from ligate.bench.statistics import Estimate
from ligate.bench.suite import TEST


class Setting(NamedTuple):
    """Something that was not the same; empty where one of the two does not have it."""

    name: str
    one: str
    other: str


class Change(NamedTuple):
    """A row that both have. `difference` is the second minus the first; `note` says why it is unpaired or missing."""

    row: Row
    one: Estimate | None
    other: Estimate | None
    difference: Estimate | None
    paired: bool
    note: str
    chosen: tuple[str, str]  # coefficients under the seeds that both have


@dataclass(frozen=True)
class Comparison:
    one: Results
    other: Results
    settings: Sequence[Setting]
    only_one: Sequence[Row]
    only_other: Sequence[Row]
    changes: Sequence[Change]


def compare(one: Results, other: Results) -> Comparison:
    """The second result against the first."""
    return Comparison(
        one,
        other,
        settings=list(_settings(one, other)),
        only_one=[row for row in one.rows if other.row(row.id) is None],
        only_other=[row for row in other.rows if one.row(row.id) is None],
        changes=[_change(one, row, other, same) for row in one.rows if (same := other.row(row.id)) is not None],
    )


def _settings(one: Results, other: Results) -> Iterator[Setting]:
    mine, theirs = _told(one), _told(other)
    for name in dict.fromkeys([*mine, *theirs]):
        if mine.get(name) != theirs.get(name):
            yield Setting(name, mine.get(name, ""), theirs.get(name, ""))
    if one.digest != other.digest:
        yield Setting("questions and scoring", f"digest {one.digest}", f"digest {other.digest}")


def _told(results: Results) -> dict[str, str]:
    """Whatever decides the numbers, in words."""
    papers = {
        f"questions on `{name}`": "; ".join(filter(None, (f"{telling.questions(results, name):,}", paper.says)))
        for name, paper in results.papers.items()
    }
    return {
        "suite": results.suite,
        "tier": results.tier,
        "seeds": ", ".join(map(str, results.seeds)),
        "budget": f"{results.budget} coefficients per method and seed",
        "metric": telling.heading(results.metric),
        "tasks": ", ".join(task.name for task in results.tasks),
        **papers,
        **results.facts,
    }


def _change(first: Results, row: Row, second: Results, same: Row) -> Change:
    ends = summary.estimate(first, row), summary.estimate(second, same)
    seeds = {cell.seed for cell in row.done} & {cell.seed for cell in same.done}
    chosen = _coefficients(row, seeds), _coefficients(same, seeds)
    difference, paired, note = _difference(first, row, second, same)
    return Change(row, *ends, difference, paired, note, chosen)


def _coefficients(row: Row, seeds: set[int]) -> str:
    """Those of seeds that both have: another seed may choose another value without anything having changed."""
    cells = sorted((cell for cell in row.done if cell.seed in seeds), key=lambda cell: cell.seed)
    found = [summary.Chosen(cell.seed, cell.chosen, cell.at_edge) for cell in cells if cell.chosen is not None]
    return telling.coefficients(found)


def _difference(first: Results, row: Row, second: Results, same: Row) -> tuple[Estimate | None, bool, str]:
    before, after = summary.answers(first, row), summary.answers(second, same)
    if not before or not after:
        which = "neither" if not before and not after else "only the second" if not before else "only the first"
        return None, False, f"{which} has an average"
    if first.metric != second.metric:
        return None, False, "another metric"
    if _tasks(first) != _tasks(second):
        return None, False, "averages over other tasks"
    sources = first.papers[TEST].sources
    if not _same_questions(first, second):
        note = "other questions: unpaired"
    elif before.keys() != after.keys():
        note = "other seeds: unpaired"
    else:
        return statistics.difference([after[seed] for seed in before], list(before.values()), sources), True, ""
    then = statistics.estimate(list(before.values()), sources)
    now = statistics.estimate(list(after.values()), second.papers[TEST].sources)
    return statistics.apart(now, then), False, note


def _tasks(results: Results) -> set[str]:
    return set(results.papers[TEST].sources)


def _same_questions(first: Results, second: Results) -> bool:
    """The digest says so; that the sources are the same too keeps a damaged file from being paired."""
    mine, theirs = first.papers[TEST].sources, second.papers[TEST].sources
    return first.digest == second.digest and all(mine[task].equal(theirs[task]) for task in mine)
