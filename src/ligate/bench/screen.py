"""A result in the terminal: tables by rich that fit into a hundred columns and use more where there are more.

Numbers in brackets are differences that are not resolved, so that it can be read without colours too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ligate.bench import telling
from ligate.bench.compare import Change, Comparison
from ligate.bench.results import Results
from ligate.bench.statistics import Estimate
from ligate.bench.suite import Metric
from ligate.bench.summary import Line, Summary, summarise
from ligate.bench.words import megabytes, seconds

BRACKETS = "± is half of a 95 % interval; in brackets: not resolved, the interval holds zero"


class Column(NamedTuple):
    heading: str
    cells: Sequence[str]  # one per row, as markup


@dataclass(frozen=True)
class Wide:
    """A table that goes on below, with the first column again, where the terminal is too narrow for all of it."""

    title: str
    lines: Sequence[Line]
    columns: Sequence[Column]
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        rest = list(self.columns)
        while rest:
            count = len(rest)
            while count > 1 and _width(self._part(rest[:count]), console, options) > options.max_width:
                count -= 1
            table = self._part(rest[:count])
            table.title = self.title if len(rest) == len(self.columns) else f"{self.title}, continued"
            table.caption = None if rest[count:] else self.caption or None
            yield table
            rest = rest[count:]

    def _part(self, columns: Sequence[Column]) -> Table:
        table = _table()
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(column.heading, justify="right", no_wrap=True)
        for number, line in enumerate(self.lines):
            if number and line.row.group != self.lines[number - 1].row.group:
                table.add_section()
            table.add_row(escape(line.row.title), *(column.cells[number] for column in columns))
        return table


def tables(results: Results) -> Iterable[RenderableType]:
    """Everything that a terminal shows of a result, in order."""
    told = summarise(results)
    if not results.ranks:
        yield Text(telling.MECHANICS, style="bold")
    yield _averages(told)
    yield from _verdict(told)
    yield _by_task(told)
    for part in (_pairs, _elsewhere, _extras):
        yield from part(told)
    yield from _costs(told)
    yield from _failures(told)


def compared(comparison: Comparison) -> Iterable[RenderableType]:
    """What changed from the first result to the second."""
    if comparison.settings:
        table = _table("What is not the same")
        for heading in ("", "first", "second"):
            table.add_column(heading, overflow="fold")
        for name, one, other in comparison.settings:
            table.add_row(escape(name), escape(one) or "[dim]none[/dim]", escape(other) or "[dim]none[/dim]")
        yield table
    else:
        yield Text("Settings, questions and facts are the same.")
    for which, rows in (("first", comparison.only_one), ("second", comparison.only_other)):
        if rows:
            yield Text(f"Only in the {which}: {'; '.join(row.title for row in rows)}.")
    if comparison.changes:
        yield _changes(comparison)


def _changes(comparison: Comparison) -> Table:
    metric = comparison.one.metric
    table = _table(f"Average of the rows that both have, {telling.heading(metric)}", BRACKETS)
    table.add_column("")
    for heading in ("first", "second", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    group = comparison.changes[0].row.group
    for change in comparison.changes:
        if change.row.group != group:
            table.add_section()
            group = change.row.group
        first, second = (_optional(each, metric, telling.measured) for each in (change.one, change.other))
        table.add_row(escape(change.row.title), first, second, _difference(metric, change.difference), _remarks(change))
    return table


def _remarks(change: Change) -> str:
    before, after = change.chosen
    moved = f"{change.row.coefficient or 'coefficient'} {before or 'none'} → {after or 'none'}"
    return escape("; ".join(filter(None, (change.note, moved if before != after else ""))))


def _averages(told: Summary) -> Table:
    results, metric = told.results, told.results.metric
    tasks = len(results.papers["test"].sources) if "test" in results.papers else 0
    title = (
        f"{escape(results.suite)}, {results.tier}: {telling.heading(metric)}, mean over {tasks} "
        f"task{'s' if tasks != 1 else ''}, {telling.seeds(results.seeds)}"
    )
    table = _table(title, BRACKETS)
    table.add_column("", no_wrap=True)
    table.add_column("average", justify="right", no_wrap=True)
    if told.baseline:
        table.add_column(escape(f"minus {told.baseline.title.lower()}"), justify="right")
    experts = any(line.relative for line in told.lines)
    if experts:
        table.add_column("of the experts", justify="right")
    table.add_column("uses")
    for number, line in enumerate(told.lines):
        if number and line.row.group != told.lines[number - 1].row.group:
            table.add_section()
        cells = [escape(line.row.title), _optional(line.average, metric, telling.measured)]
        if told.baseline:
            cells.append(_difference(metric, line.against))
        if experts:
            cells.append(_share(line.relative_mean))
        uses = "; ".join(filter(None, (telling.uses(line.row), telling.partly(told, line))))
        table.add_row(*cells, escape(uses), style="bold" if line is told.best else "")
    return table


def _verdict(told: Summary) -> Iterator[RenderableType]:
    sentences = telling.verdict(told)
    if sentences:
        yield Padding(" ".join(map(escape, sentences)), (0, 0, 1, 0))


def _by_task(told: Summary) -> Wide:
    metric = told.results.metric
    names = [task.name for task in told.results.tasks if any(task.name in line.scores for line in told.lines)]
    columns = [Column(_short(name), [_score(metric, line.scores.get(name)) for line in told.lines]) for name in names]
    return Wide(f"By task, {telling.heading(metric)}", told.lines, columns)


def _pairs(told: Summary) -> Iterator[RenderableType]:
    lines = [line for line in told.group("merge") if line.average]
    metric = told.results.metric

    def cell(one: Line, other: Line) -> str:
        found = told.difference(one.row.id, other.row.id)
        text = telling.signed_points(metric, found) if found else ""
        return text if not found or found.resolved else f"[dim]({text})[/dim]"

    if len(lines) > 1:
        columns = [
            Column(_short(other.row.title), [cell(one, other) if one is not other else "·" for one in lines])
            for other in lines
        ]
        yield Wide(f"Row minus column, {telling.points(metric)}", lines, columns, "in brackets: not resolved")


def _elsewhere(told: Summary) -> Iterator[RenderableType]:
    metric = told.results.metric
    columns = [
        Column("other\ntasks", [_optional(line.outside, metric, telling.measured) for line in told.lines]),
        Column("against\npretrained", [_difference(metric, line.forgetting) for line in told.lines]),
        *(
            Column(f"test →\n{escape(name)}", [_difference(metric, line.robustness.get(name)) for line in told.lines])
            for name in dict.fromkeys(name for line in told.lines for name in line.robustness)
        ),
    ]
    kept = [column for column in columns if any(column.cells)]
    if kept:
        yield Wide("Tasks that were not merged, and disturbed texts", told.lines, kept, BRACKETS)


def _extras(told: Summary) -> Iterator[RenderableType]:
    names = list(dict.fromkeys(name for line in told.lines for name in line.extras))
    columns = [
        Column(_short(name), [telling.further(line.extras[name]) if name in line.extras else "" for line in told.lines])
        for name in names
    ]
    if columns:
        yield Wide("Further numbers", told.lines, columns, "± is half of a 95 % interval over the seeds")


def _costs(told: Summary) -> Iterator[RenderableType]:
    lines = [line for line in told.lines if line.cost or line.chosen]
    costs = [line.cost for line in lines]
    times = [cost.seconds if cost else None for cost in costs]
    peaks = [cost.peak_bytes if cost else None for cost in costs]
    columns = [
        Column("coefficient", [escape(telling.chosen(line)) for line in lines]),
        Column("time", ["" if each is None else seconds(each) for each in times]),
        Column("peak\nmemory", ["" if each is None else megabytes(each) for each in peaks]),
        Column("parameters", [telling.count(cost.parameters) if cost else "" for cost in costs]),
        Column("passes", [str(cost.passes) if cost else "" for cost in costs]),
    ]
    kept = [column for column in columns if any(column.cells)]
    edge = "* the end of the range: a better value may lie outside"
    starred = any(one.at_edge for line in lines for one in line.chosen)
    if kept:
        yield Wide("What was chosen, and what it costs", lines, kept, edge if starred else "")


def _failures(told: Summary) -> Iterator[RenderableType]:
    failed = [(line.row.title, failure) for line in told.lines for failure in line.failures]
    if failed:
        table = _table("Failed")
        for heading in ("", "seed", "why"):
            table.add_column(heading, overflow="fold")
        for title, failure in failed:
            table.add_row(escape(title), str(failure.seed), escape(failure.reason))
        yield table


def _optional(found: Estimate | None, metric: Metric, tell: Callable[[Metric, Estimate], str]) -> str:
    return tell(metric, found) if found else ""


def _difference(metric: Metric, found: Estimate | None) -> str:
    text = _optional(found, metric, telling.change)
    return text if found is None or found.resolved else f"[dim]({text})[/dim]"


def _score(metric: Metric, value: float | None) -> str:
    return "" if value is None else telling.score(metric, value)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _short(title: str) -> str:
    """A heading over narrow numbers: one word to a line, long ones broken at their hyphens."""
    return escape("\n".join(re.sub(r"(?<=[a-z]{4})-(?=[a-z]{4})", "- ", title).split()))


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(max_width=10_000), table).maximum


def _table(title: str | None = None, caption: str | None = None) -> Table:
    return Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", caption=caption,
        caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
