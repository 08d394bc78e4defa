"""What a run will cost, told from headers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ligate.core.method import Card
from ligate.core.tensors import Source, itemsize

from .job import make_job
from .memory import admitted, resident_bytes, thread_count, workspace_bytes
from .plan import Plan


class Forecast(NamedTuple):
    """Bytes are those of tensors; `passes` is the largest number of times any tensor is read whole."""

    tensors: int
    read: int
    written: int
    passes: int
    threads: int
    peak_memory: int


def forecast(
    plan: Plan,
    sources: Sequence[Source],
    lookup: Callable[[str], Card],
    *,
    threads: int | None = None,
    memory: int | None = None,
) -> Forecast:
    """Bytes, passes and memory of `run` with the same arguments.

    A statistic counts as one pass; one that has to look again (a missed estimate) may cost another.

    Raises:
        RecipeError: `memory` is too small for one thread.
    """
    cards = {out.method: lookup(out.method) for out in plan.outs if out.method is not None}
    jobs = [make_job(plan, out, cards.get(out.method or ""), sources) for out in plan.outs]
    workers = admitted(jobs, thread_count(threads, jobs), memory)
    return Forecast(
        tensors=len(jobs),
        read=sum(job.nbytes * (1 + len(job.stats)) for job in jobs),
        written=sum(job.cut.numel * itemsize(job.out.dtype) for job in jobs),
        passes=max((1 + len(job.stats) for job in jobs), default=0),
        threads=workers,
        peak_memory=resident_bytes() + workers * max(map(workspace_bytes, jobs), default=0),
    )
