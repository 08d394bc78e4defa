"""Run a plan: threads take passes from the schedule; every segment is read, checked, computed, rounded and written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Card
from ligate.core.spare import spare_threads
from ligate.core.tensors import Sink, Source, itemsize

from . import digest, direct
from .blocks import BLOCK
from .job import Job, make_job
from .journal import Claims, Done, Journal
from .memory import admitted, thread_count
from .plan import Operand, Plan
from .schedule import Schedule, Task, group_jobs
from .stream import Stopped, Terms
from .workspace import Workspace


class TensorResult(NamedTuple):
    """What is known of a finished tensor; digests are None when hashing was off."""

    digest: str | None
    operands: Mapping[Operand, str | None]
    stats: Mapping[str, Any]


def run(
    plan: Plan,
    sources: Sequence[Source],
    lookup: Callable[[str], Card],
    sink: Sink,
    *,
    threads: int | None = None,
    memory: int | None = None,
    hashing: bool = True,
    allow_nonfinite: bool = False,
    device: str | None = None,
    journal: Journal | None = None,
    claims: Claims | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> dict[str, TensorResult]:
    """Compute every output tensor of the plan into the sink.

    `claims` (of an earlier, interrupted run of the same plan) are believed only where the sink's bytes still hash to
    them. The result does not depend on `threads`, `memory` or on what was resumed; on a `device` other than the CPU the
    rules of reach "tensor" round differently.

    Raises:
        NonFiniteError: NaN or infinity in an input or a result.
        InputError, StorageError: reading or writing failed.
        RecipeError: `memory` is too small for one thread.
    """
    cards = {out.method: lookup(out.method) for out in plan.outs if out.method is not None}
    jobs = [make_job(plan, out, cards.get(out.method or ""), sources) for out in plan.outs]
    schedule = Schedule(group_jobs(jobs))
    terms = Terms(sink, hashing, allow_nonfinite, _counter(progress), lambda: schedule.stopped, device)
    for job in jobs:
        job.direct = direct.directs(job)
    crew = thread_count(threads, jobs)
    workers = min(admitted(jobs, crew, memory), max(len(jobs), 1))
    if claims and hashing:
        _believe(jobs, claims, sink, workers)
    if all(job.direct for job in jobs):
        _work(schedule, terms, journal, workers)
    else:
        with _torch_by_one_thread_each() as each, spare_threads(crew // workers):
            _work(schedule, terms, journal, workers, each)
    return {job.out.name: _result(job) for job in jobs}


def _work(
    schedule: Schedule,
    terms: Terms,
    journal: Journal | None,
    workers: int,
    each: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    failures: list[BaseException] = []

    def serve() -> None:
        space = Workspace()
        try:
            with each():
                while (task := schedule.take()) is not None:
                    with _told(task.job):
                        schedule.finish(task, _perform(task, space, terms, journal))
        except Stopped:
            return
        except BaseException as error:
            failures.append(error)
            schedule.stop()

    crew = [threading.Thread(target=serve, name=f"ligate-{i}", daemon=True) for i in range(workers)]
    try:
        for worker in crew:
            worker.start()
        for worker in crew:
            worker.join()
    except BaseException:  # Ctrl-C reaches the main thread only
        schedule.stop()
        for worker in filter(threading.Thread.is_alive, crew):
            worker.join()
        raise
    if failures:
        raise failures[0]


@contextmanager
def _told(job: Job) -> Generator[None]:
    """Every error names the tensor; what goes wrong in a user's own method is said to be its own."""
    try:
        yield
    except LigateError as error:
        raise (error if job.out.name in error.where else error.inside(tensor=job.out.name)) from None
    except Exception as error:
        if job.card is None or not job.card.foreign or isinstance(error, (OSError, MemoryError)):
            raise
        text = f"the rule fails: {type(error).__name__}: {error}"
        hint = "mend it; `--debug` shows the line."
        raise RecipeError(text, where=f"{job.out.method}, tensor {job.out.name}", hint=hint) from error


def _perform(task: Task, space: Workspace, terms: Terms, journal: Journal | None) -> Any:
    job = task.job
    passes = direct if job.direct else tensor_passes()
    if task.stat is not None:
        if task.sample is not None:
            return passes.observe_sample(job, task.stat, task.start(), task.sample, space, terms)
        return passes.observe_segment(job, task.stat, task.start(), task.segment, space, terms)
    perform = passes.copy_segment if job.card is None else passes.apply_segment
    perform(job, task.segment, space, terms)
    if journal is not None:
        _enter(journal, job, task.segment)
    return None


def tensor_passes() -> Any:
    """The passes that need torch, which is not loaded for jobs that do not."""
    from . import passes

    return passes


def _enter(journal: Journal, job: Job, segment: int) -> None:
    """A segment is journalled only with its digests: nothing else could prove it later."""
    out, operands = job.written[segment], job.read[segment]
    if out is not None and operands is not None:
        if job.reports and segment == 0:
            journal.report(job.out.name, job.statistics())
        journal.segment(job.out.name, segment, Done(out, operands))


def _believe(jobs: Sequence[Job], claims: Claims, sink: Sink, workers: int) -> None:
    """Mark as done what the journal claims and the bytes confirm."""

    def confirm(work: tuple[Job, int]) -> None:
        job, segment = work
        claim = claims.segments.get((job.out.name, segment))
        if claim is None or len(claim.operands) != len(job.sources):
            return
        if _digest_written(job, segment, sink) == claim.out:
            job.read[segment], job.written[segment] = claim.operands, claim.out
            job.reports.update(claims.stats.get(job.out.name, {}))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(confirm, [(job, i) for job in jobs for i in range(len(job.segments))]))


def _digest_written(job: Job, segment: int, sink: Sink) -> bytes:
    state, span = digest.hasher(), job.segments[segment]
    size = itemsize(job.out.dtype)
    buffer = memoryview(bytearray(min(BLOCK, max(span.stop - span.start, 0)) * size))
    for start in range(span.start, span.stop, BLOCK):
        data = buffer[: (min(start + BLOCK, span.stop) - start) * size]
        sink.read_back(job.out.name, start, data)
        state.update(data)
    return digest.of_segment(state)


def _result(job: Job) -> TensorResult:
    if any(written is None for written in job.written):
        return TensorResult(None, dict.fromkeys(job.out.operands), job.statistics())
    per_operand = zip(*(digests for digests in job.read if digests is not None), strict=True)
    operands = {
        operand: digest.of_tensor(column) for operand, column in zip(job.out.operands, per_operand, strict=True)
    }
    return TensorResult(
        digest.of_tensor(written for written in job.written if written is not None), operands, job.statistics()
    )


def _counter(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Progress from several threads, one at a time."""
    lock = threading.Lock()

    def count(nbytes: int) -> None:
        with lock:
            progress(nbytes)

    return count


@contextmanager
def _torch_by_one_thread_each() -> Generator[Callable[[], AbstractContextManager[Any]]]:
    """Sums and products change with torch's own threads; the caller's setting comes back. Gives what workers enter."""
    import torch

    def each() -> AbstractContextManager[Any]:
        torch.set_num_threads(1)
        return torch.inference_mode()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield each
    finally:
        torch.set_num_threads(before)
