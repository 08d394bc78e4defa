"""A contest in every seed, put together into results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ligate.bench import contest
from ligate.bench.contestants import contestants
from ligate.bench.results import Cell, Results
from ligate.bench.suite import ACCURACY, Metric, Request, Teller, World

WorldOf = Callable[[Request, int, Teller], World]


def tournament(
    request: Request,
    tell: Teller,
    world_of: WorldOf,
    methods: Sequence[str],
    facts: Callable[[World], Mapping[str, str]],
    *,
    metric: Metric = ACCURACY,
    drawings: Callable[[World], Mapping[str, Any]] = lambda world: {},
    ranks: bool = True,
) -> Results:
    """Play all seeds, one after the other. Methods are those of the suite where the request names none."""
    began = time.perf_counter()
    cells: list[list[Cell]] = []
    first: World | None = None
    for seed in request.seeds:
        world = world_of(request, seed, tell)
        first = first or world
        takes_part = contestants(world, methods if request.methods is None else request.methods)
        played = contest.play(world, takes_part, request, metric, tell)
        cells = cells or [[] for _ in takes_part]
        for each, cell in zip(cells, played, strict=True):
            each.append(cell)
    if first is None:
        raise ValueError("no seeds")
    return Results(
        suite=request.suite,
        tier=request.tier,
        seeds=request.seeds,
        budget=request.budget,
        metric=metric,
        tasks=first.tasks,
        papers=first.papers(),
        rows=contest.rows(contestants(first, methods if request.methods is None else request.methods), cells),
        facts=facts(first),
        digest=first.digest,
        seconds=time.perf_counter() - began,
        drawings=drawings(first),
        ranks=ranks,
    )
