"""Tables of the page: rows in their groups, cells that know what they are sorted by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from ligate.bench import telling
from ligate.bench.statistics import Estimate
from ligate.bench.suite import Metric
from ligate.bench.summary import GROUPS, Line

GROUP_NAMES = {
    "reference": "References",
    "merge": "Merges: one network",
    "ensemble": "Ensembles: several networks vote",
}


class Cell(NamedTuple):
    """`value` is what the column is sorted by; `depth`, from 0 to 1, is how deep the cell is shaded."""

    text: str  # as HTML
    value: float | None = None
    kind: str = ""
    depth: float | None = None


EMPTY = Cell("")


class Column(NamedTuple):
    """`low` says that sorting begins with the lowest, because that is the best."""

    heading: str  # as text
    cells: Sequence[Cell]
    low: bool = False
    words: bool = False  # not numbers: set left, sorted as text


def table(lines: Sequence[Line], columns: Sequence[Column], name: Callable[[Line], str]) -> str:
    """The first column is what `name` makes of a row; one without content is left out. Groups are sorted apart."""
    kept = [column for column in columns if any(cell.text for cell in column.cells)]
    return "".join(_table(lines, kept, name))


def _table(lines: Sequence[Line], columns: Sequence[Column], name: Callable[[Line], str]) -> Iterator[str]:
    yield '<div class="wide"><table class="sortable"><thead><tr><th class="name" scope="col">way to answer</th>'
    for column in columns:
        kind = "words" if column.words else "number"
        further = f'{" data-low" if column.low else ""} style="width:{min(16, 76 / len(columns)):.1f}%"'
        yield f'<th scope="col" class="{kind}"{further}>{escape(column.heading)}</th>'
    yield "</tr></thead>"
    several = len({line.row.group for line in lines}) > 1
    for group in GROUPS:
        here = [number for number, line in enumerate(lines) if line.row.group == group]
        if here:
            yield "<tbody>"
            if several:
                across = len(columns) + 1
                yield f'<tr class="group"><th scope="rowgroup" colspan="{across}">{GROUP_NAMES[group]}</th></tr>'
            for number in here:
                cells = "".join(_cell(column.cells[number], column.words) for column in columns)
                yield f'<tr><th scope="row" class="name">{name(lines[number])}</th>{cells}</tr>'
            yield "</tbody>"
    yield "</table></div>"


def _cell(cell: Cell, words: bool) -> str:
    kind = " ".join(filter(None, ("" if words else "number", cell.kind, "heat" if cell.depth is not None else "")))
    value = "" if cell.value is None else f' data-v="{cell.value!r}"'
    style = "" if cell.depth is None else f' style="--v:{0.92 * cell.depth:.3f}"'
    return f'<td class="{kind}"{value}{style}>{cell.text}</td>'


def title(line: Line) -> str:
    return escape(line.row.title)


def heat(
    values: Sequence[float | None], metric: Metric, among: Sequence[float | None] | None = None
) -> list[float | None]:
    """0 for the worst to 1 for the best of a column, or of all that it is shaded among."""
    known = [value for value in (among or values) if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = high - low or 1.0
    return [
        None if value is None else (value - low) / span if metric.higher else (high - value) / span for value in values
    ]


def scores(metric: Metric, heading: str, values: Sequence[float | None]) -> Column:
    """Shaded from the worst to the best of the column."""
    cells = [
        EMPTY if value is None else Cell(telling.score(metric, value), value, "", depth)
        for value, depth in zip(values, heat(values, metric), strict=True)
    ]
    return Column(heading, cells, low=not metric.higher)


def estimates(metric: Metric, heading: str, found: Sequence[Estimate | None], *, shaded: bool = False) -> Column:
    depths = heat([each.mean if each else None for each in found], metric) if shaded else [None] * len(found)
    cells = [_measured(metric, each, depth) for each, depth in zip(found, depths, strict=True)]
    return Column(heading, cells, low=not metric.higher)


def changes(metric: Metric, heading: str, found: Sequence[Estimate | None]) -> Column:
    return Column(heading, [change(metric, each) for each in found], low=not metric.higher)


def change(metric: Metric, found: Estimate | None) -> Cell:
    """In brackets when it is not resolved."""
    if found is None:
        return EMPTY
    text = telling.signed_points(metric, found)
    kind = "" if found.resolved else "open"
    return Cell(
        f"{text if found.resolved else f'({text})'}{_half(metric, found)}", found.mean, f"{kind} change".strip()
    )


def _measured(metric: Metric, found: Estimate | None, depth: float | None) -> Cell:
    if found is None:
        return EMPTY
    return Cell(f"{telling.score(metric, found.mean)}{_half(metric, found)}", found.mean, "mean", depth)


def _half(metric: Metric, found: Estimate) -> str:
    return f'<span class="half">{escape(telling.reach(metric, found).strip())}</span>' if found.error > 0 else ""
