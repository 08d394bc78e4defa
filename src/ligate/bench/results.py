"""What a run of the bench found, as data: saved whole, loaded again, told by tables, pages and comparisons.

`results.json` has everything but the single answers, `answers.npz` has these; together they are the whole result, so a
report can be made anew and two runs can be compared answer by answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.bench.kept import write_whole
from ligate.bench.suite import Group, Metric, Paper, Task, Use
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
RESULTS, ANSWERS = "results.json", "answers.npz"


class Point(NamedTuple):
    """A coefficient that was tried and what it scored on the validation paper, by task."""

    value: float
    scores: Mapping[str, float]

    @property
    def mean(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


class Cost(NamedTuple):
    """Of a merge: seconds and peak memory of its own process. Of using it: networks stored and asked per input."""

    parameters: int  # stored
    passes: int  # networks that each input goes through
    seconds: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Cell:
    """One row in one seed. `answers` has, per paper and task, a number for each question."""

    seed: int
    answers: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    chosen: float | None = None
    curve: Sequence[Point] = ()
    at_edge: bool = False  # the best coefficient ends the range, so a better one may lie outside
    cost: Cost | None = None
    failed: str = ""  # why there are no answers
    extras: Mapping[str, float] = field(default_factory=dict)  # further numbers, such as a barrier by task


@dataclass(frozen=True)
class Row:
    """A way to answer: a network, a merge of networks, or networks that vote."""

    id: str
    title: str
    group: Group
    uses: Sequence[Use]
    coefficient: str = ""  # the name of what was chosen
    note: str = ""
    cells: Sequence[Cell] = ()

    @property
    def done(self) -> Sequence[Cell]:
        return [cell for cell in self.cells if not cell.failed]


@dataclass(frozen=True)
class Results:
    """Rows in the order of the table. `facts` say in words what was measured on what: data, model, arithmetic."""

    suite: str
    tier: str
    seeds: Sequence[int]
    budget: int
    metric: Metric
    tasks: Sequence[Task]
    papers: Mapping[str, Paper]
    rows: Sequence[Row]
    facts: Mapping[str, str]
    digest: str  # of the questions and how they are scored: equal for runs that can be compared answer by answer
    seconds: float
    drawings: Mapping[str, Any] = field(default_factory=dict)  # data for plots that only some suites have
    ranks: bool = True  # False: the suite checks mechanics, and its numbers must not rank methods

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.id == name), None)


def save(results: Results, folder: Path) -> None:
    """Both files, each whole or not at all."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"paper/{paper}/{task}": each for paper, it in results.papers.items() for task, each in it.sources.items()
    }
    for row in results.rows:
        for cell in row.done:
            for paper, values in cell.answers.items():
                arrays |= {f"row/{row.id}/{cell.seed}/{paper}/{task}": each for task, each in values.items()}
    partial = folder / f"partial-{ANSWERS}"
    np.savez_compressed(partial, **{name: each.numpy() for name, each in arrays.items()})  # type: ignore[arg-type]
    partial.replace(folder / ANSWERS)
    write_whole(folder / RESULTS, json.dumps(_as_data(results), indent=1))


def load(folder: Path) -> Results:
    """The results in a folder. InputError for one without results, or with results of another format."""
    import numpy as np
    import torch

    path = folder / RESULTS if folder.is_dir() else folder
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_name(ANSWERS)) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        return _from_data(data, arrays)
    except OSError as error:
        raise InputError(
            f"no results of the bench here: {error.strerror or error}",
            where=str(folder),
            hint="give the folder that `ligate bench run SUITE --out FOLDER` wrote.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"these results cannot be read: {error}", where=str(path), hint="run the suite again with this version."
        ) from error


def _as_data(results: Results) -> dict[str, Any]:
    rows = [{**_plain(row, "cells"), "cells": [_plain(cell, "answers") for cell in row.cells]} for row in results.rows]
    papers = {name: paper.says for name, paper in results.papers.items()}
    metric, tasks = results.metric._asdict(), [task._asdict() for task in results.tasks]
    told = _plain(results, "rows", "papers", "metric", "tasks")
    return {"format": FORMAT, **told, "metric": metric, "tasks": tasks, "papers": papers, "rows": rows}


def _plain(value: Any, *without: str) -> dict[str, Any]:
    shallow = {name: getattr(value, name) for name in value.__dataclass_fields__ if name not in without}
    return {name: _spoken(each) for name, each in shallow.items()}


def _spoken(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _spoken(each) for name, each in value._asdict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return [_spoken(each) for each in value] if isinstance(value, (list, tuple)) else value


def _from_data(data: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Results:
    if data.get("format") != FORMAT:
        raise ValueError(f"format {data.get('format')!r}, not {FORMAT}")
    rest = {name: data[name] for name in data if name not in ("format", "metric", "tasks", "papers", "rows")}
    papers = {name: Paper(_under(arrays, f"paper/{name}/"), says) for name, says in data["papers"].items()}
    tasks = [Task(**task) for task in data["tasks"]]
    rows = [_row(row, arrays, papers) for row in data["rows"]]
    return Results(metric=Metric(**data["metric"]), tasks=tasks, papers=papers, rows=rows, **rest)


def _row(row: Mapping[str, Any], arrays: Mapping[str, Tensor], papers: Mapping[str, Paper]) -> Row:
    rest = {name: row[name] for name in row if name != "cells"}
    return Row(**rest, cells=[_cell(cell, row["id"], arrays, papers) for cell in row["cells"]])


def _cell(cell: Mapping[str, Any], row: str, arrays: Mapping[str, Tensor], papers: Mapping[str, Paper]) -> Cell:
    rest = {name: cell[name] for name in cell if name not in ("curve", "cost")}
    cost = Cost(**cell["cost"]) if cell["cost"] else None
    curve = [Point(**point) for point in cell["curve"]]
    return Cell(**rest, curve=curve, cost=cost, answers=_answers(arrays, f"row/{row}/{cell['seed']}/", papers))


def _answers(arrays: Mapping[str, Tensor], start: str, papers: Mapping[str, Paper]) -> dict[str, dict[str, Tensor]]:
    each = {paper: _under(arrays, f"{start}{paper}/") for paper in papers}
    return {paper: values for paper, values in each.items() if values}


def _under(arrays: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
