"""A result as one CSV file, for spreadsheets and scripts, with numbers as they were measured.

A line per row, seed, paper and task; then a line per row with its means, whose `seed` and `task` say `mean`. Scores are
in the metric's own numbers: an accuracy of 0.5 is a half.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ligate.bench.kept import write_whole
from ligate.bench.results import Cell, Results, Row
from ligate.bench.statistics import Estimate, means
from ligate.bench.suite import TEST
from ligate.bench.summary import Line, summarise

FILE = "results.csv"
MEAN = "mean"
COLUMNS: tuple[str, ...] = (
    "row", "title", "group", "uses", "seed", "paper", "task", "metric", "score", "low", "high",
    "baseline", "difference", "difference_low", "difference_high", "resolved", "relative", "closed",
    "coefficient", "chosen", "at_edge", "seconds", "peak_bytes", "parameters", "passes", "failed",
)  # fmt: skip

Fields = dict[str, object]


def write(results: Results, path: Path) -> None:
    """The file, whole or not at all; in a folder it is `results.csv`."""
    write_whole(path / FILE if path.is_dir() else path, sheet(results))


def sheet(results: Results) -> str:
    """Its text."""
    told = summarise(results)
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in told.lines:
        same: Fields = {
            "row": line.row.id,
            "title": line.row.title,
            "group": line.row.group,
            "uses": "; ".join(line.row.uses),
            "metric": results.metric.name,
            "coefficient": line.row.coefficient,
        }
        for fields in (*_cells(line.row), _means(line, told.baseline)):
            writer.writerow(same | {name: value for name, value in fields.items() if value is not None})
    return text.getvalue()


def _cells(row: Row) -> Iterator[Fields]:
    for cell in row.cells:
        same: Fields = {"seed": cell.seed, "chosen": cell.chosen, "failed": cell.failed or None, **_cost(cell)}
        if cell.chosen is not None:
            same["at_edge"] = _word(cell.at_edge)
        if not cell.answers:
            yield same
        for paper, values in cell.answers.items():
            for task, score in means(values).items():
                yield same | {"paper": paper, "task": task, "score": score}


def _means(line: Line, baseline: Row | None) -> Fields:
    fields: Fields = {"seed": MEAN, "task": MEAN, "paper": TEST, "relative": line.relative_mean, "closed": line.closed}
    fields |= _ends("score", "", line.average) | _ends("difference", "difference_", line.against)
    if line.against and baseline:
        fields |= {"baseline": baseline.id, "resolved": _word(line.against.resolved)}
    if line.cost:
        fields |= line.cost._asdict()
    return fields


def _ends(name: str, start: str, found: Estimate | None) -> Fields:
    return {name: found.mean, f"{start}low": found.low, f"{start}high": found.high} if found else {}


def _cost(cell: Cell) -> Fields:
    return dict(cell.cost._asdict()) if cell.cost else {}


def _word(value: bool) -> str:
    return "yes" if value else "no"
