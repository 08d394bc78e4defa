"""Results that nobody measured, for the tests of everything that shows results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ligate.bench.results import Cell, Cost, Point, Results, Row, load, save
from ligate.bench.suite import ACCURACY, Group, Metric, Paper, Task

TASKS = ("section", "role", "interface", "use", "works-with", "toolkit", "language", "team")
ROWS: Sequence[tuple[str, str, Group, float, int]] = (
    # id, title, group, skill, networks asked
    ("pretrained", "Pretrained", "reference", 0.51, 1),
    ("individual", "Individual experts", "reference", 0.77, 8),
    ("joint", "Joint training", "reference", 0.74, 1),
    ("best_single", "Best single expert", "reference", 0.54, 1),
    ("average", "Average", "merge", 0.585, 1),
    ("task_arithmetic", "Task arithmetic", "merge", 0.63, 1),
    ("ties", "TIES", "merge", 0.625, 1),
    ("dare", "DARE + task arithmetic", "merge", 0.632, 1),
    ("tsv_m", "TSV-M", "merge", 0.69, 1),
    ("iso_c", "Iso-C", "merge", 0.68, 1),
    ("ensemble_logits", "Ensemble, mean of logits", "ensemble", 0.60, 8),
    ("ensemble_probabilities", "Ensemble, mean of probabilities", "ensemble", 0.59, 8),
)
SIZE = 22_713_216


def hand(
    scores: Mapping[str, Sequence[Sequence[float]]],
    group: Group = "merge",
    metric: Metric = ACCURACY,
    **further: Any,
) -> Results:
    """One task `a`, each question its own source: row id -> seed -> a number per question."""
    count = len(next(iter(scores.values()))[0])
    rows = [
        Row(
            name,
            name.replace("_", " "),
            group,
            ("nothing",),
            cells=[Cell(seed, {"test": {"a": torch.tensor(each)}}) for seed, each in enumerate(seeds)],
        )
        for name, seeds in scores.items()
    ]
    some = Results(
        "hand", "smoke", list(range(len(next(iter(scores.values()))))), 5, metric, [Task("a", "a", 2)],
        {"test": Paper({"a": torch.arange(count)}, "by hand")}, rows, {"Data": "none"}, "d1", 1.0,
    )  # fmt: skip
    return replace(some, **further)


def many(seeds: int = 3, count: int = 300, metric: Metric = ACCURACY, tasks: Sequence[str] = TASKS) -> Results:
    """A result of the usual size: all kinds of rows, papers and drawings; one row fails on the second seed."""
    source = torch.Generator().manual_seed(7)
    luck = {task: torch.rand(count, generator=source) for task in (*tasks, "priority")}
    rows = [_row(index, seeds, luck, metric, list(tasks)) for index in range(len(ROWS))]
    sources = {task: torch.arange(count) // 2 for task in tasks}
    papers = {
        "test": Paper(sources, "packages whose source no network has seen"),
        "typos": Paper(sources, "the test questions with typos"),
        "dropped": Paper(sources, "the test questions without every fifth word"),
        "outside": Paper({"priority": torch.arange(count)}, "a task that no network was trained for"),
    }
    facts = {"Data": "made up <for tests> & nothing else", "Model": "none", "Arithmetic": "float32, 1 thread"}
    known = [*(Task(task, task, 7) for task in tasks), Task("priority", None, 3)]
    return Results(
        "debian8", "full", list(range(seeds)), 12, metric, known, papers, rows, facts, "digest", 2400.0,
        drawings={"conflicts": _conflicts()},
    )  # fmt: skip


def mechanics() -> Results:
    """What the suite of digits gives: no merges of experts, barriers beside the scores, and paths of the loss."""
    rows: list[Row] = []
    paths: dict[str, dict[str, Any]] = {}
    for name, title, depth in (("midpoint", "Midpoint", 0.9), ("aligned", "Midpoint after alignment", 0.04)):
        cells = []
        for seed in range(2):
            right = (torch.rand(200, generator=torch.Generator().manual_seed(seed)) > 0.3 * depth).float()
            cells.append(Cell(seed, {"test": {"mlp": right}}, extras={"barrier mlp 32 x 3": depth * (1 + 0.1 * seed)}))
        rows.append(Row(name, title, "reference", ("nothing",), cells=cells))
        paths["mlp 32 x 3"] = {**paths.get("mlp 32 x 3", {}), name: [_path(depth, seed) for seed in range(2)]}
    return Results(
        "digits", "smoke", [0, 1], 0, ACCURACY, [Task("mlp", "mlp", 10)], {"test": Paper({"mlp": torch.arange(200)})},
        rows, {"Data": "scikit-learn digits"}, "digits", 12.0, drawings={"paths": paths}, ranks=False,
    )  # fmt: skip


def _row(index: int, seeds: int, luck: Mapping[str, torch.Tensor], metric: Metric, tasks: Sequence[str]) -> Row:
    name, title, group, _skill, passes = ROWS[index]
    note = "" if group != "ensemble" else "every expert is asked"
    uses = ("validation labels",) if group == "merge" and name != "average" else ("nothing",)
    coefficient = "lambda" if "validation labels" in uses else ""
    row = Row(name, title, group, uses if name != "joint" else ("training data",), coefficient, note)
    cells = [_cell(index, seed, luck, metric, tasks, bool(coefficient)) for seed in range(seeds)]
    if name == "dare" and seeds > 1:
        cells[1] = Cell(1, failed="Error: the merge has NaN in `encoder.layer.3` & stops <here>")
    cost = Cost(SIZE * passes, passes, 0.4 * index * index if group == "merge" else None, (400 + 9 * index) * 10**6)
    return replace(row, cells=[replace(cell, cost=cost) if not cell.failed else cell for cell in cells])


def _cell(
    index: int, seed: int, luck: Mapping[str, torch.Tensor], metric: Metric, tasks: Sequence[str], chosen: bool
) -> Cell:
    source = torch.Generator().manual_seed(1000 * index + seed)
    skill = ROWS[index][3] + 0.01 * (seed - 1)

    def told(names: Sequence[str], lost: float) -> dict[str, torch.Tensor]:
        return {
            name: _answer(luck[name], skill - lost - 0.03 * place, source, metric) for place, name in enumerate(names)
        }

    answers = {"test": told(tasks, 0.0), "typos": told(tasks, 0.08), "dropped": told(tasks, 0.05)}
    answers["outside"] = told(["priority"], 0.1)
    if not chosen:
        return Cell(seed, answers)
    best = 3.0 if ROWS[index][0] == "iso_c" else round(0.4 + 0.1 * ((index + seed) % 3), 1)
    sign = 1 if metric.higher else -1
    grid = [0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0] if best < 2 else [0.6, 1.0, 1.6, 2.4, 3.0]
    curve = [Point(at, dict.fromkeys(tasks, sign * (skill - 0.1 * (at - best) ** 2))) for at in grid]
    return Cell(seed, answers, best, curve, at_edge=best == 3.0)


def _answer(luck: torch.Tensor, skill: float, source: torch.Generator, metric: Metric) -> torch.Tensor:
    own = torch.rand(len(luck), generator=source)
    right = (0.7 * luck + 0.3 * own < skill).double()
    return right if metric.higher else 2.0 - skill + 0.3 * (luck + own).double()


def _conflicts() -> list[dict[str, Any]]:
    places = [("embeddings", "")] + [
        (f"layer {n}", part) for n in range(1, 7) for part in ("attention", "feed-forward")
    ]
    return [
        {"layer": layer, "part": part, "shared": 100_000 + n, "opposed": 0.5 + 0.01 * n, "chance": 0.55}
        for n, (layer, part) in enumerate(places)
    ]


def _path(depth: float, seed: int) -> dict[str, list[float]]:
    shares = [n / 10 for n in range(11)]
    loss = [0.2 + 4 * depth * (1 + 0.2 * seed) * share * (1 - share) for share in shares]
    return {"loss": loss, "accuracy": [1 - 0.4 * value for value in loss]}


def test_it_is_what_a_run_would_save(tmp_path: Path):
    for made in (many(), mechanics(), hand({"one": [[1.0, 0.0]]})):
        save(made, tmp_path)
        assert load(tmp_path).row(made.rows[0].id) is not None
