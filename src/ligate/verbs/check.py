"""Everything that can be known of a merge before it runs: all problems at once, else what it will cost.

No torch, except for recipes that learn.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ligate.core.tensors import Source, itemsize
from ligate.recipe.schema import Recipe

from .canonical import Lookup
from .given import GivenRecipe, Overrides, Size, given_bytes, given_recipe, lookup_with
from .learning_choice import is_learned, with_idle_data_told
from .lesson import lesson
from .measuring import ground, is_measured
from .preflight import Stage, bytes_needed, free_bytes
from .undertaking import How, Undertaking, undertaking

_SAMPLE = 1 << 23  # bytes read of each of a few tensors, to see how fast the disk is
_SAMPLES = 4
_LEAST = 1 << 20  # fewer bytes tell nothing


@dataclass(frozen=True)
class StepForecast:
    """What one step will do. Bytes are those of tensors; `passes` is how often some tensor is read whole."""

    name: str | None
    method: str
    tensors: int
    read: int
    written: int
    passes: int


@dataclass(frozen=True)
class Room:
    """Disk space where the output goes."""

    needed: int
    free: int


@dataclass(frozen=True)
class Learning:
    """What will be learned before the merge: so many numbers, in at most so many steps.

    `tasks` has for each task how many examples are learned from, and how many decide when to stop.
    """

    preset: str
    scalars: int
    steps: int
    tasks: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Checked:
    """A recipe that can run, and what it will cost.

    `seconds` is the time for reading and writing alone, at the speed measured just now; it may be the speed of memory
    where the system still holds the files. Rules that compute much take longer. None for models too small to measure.
    """

    steps: tuple[StepForecast, ...]
    threads: int
    peak_memory: int
    bytes_per_second: float | None
    seconds: float | None
    room: Room | None  # None without an output
    notes: tuple[str, ...]
    learning: Learning | None = None


def check(
    recipe: GivenRecipe,
    out: str | PathLike[str] | None = None,
    *,
    dtype: str | None = None,
    shard_size: Size | None = None,
    drop: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    tokenizer: str | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    plugins: Sequence[str | PathLike[str]] = (),
) -> Checked:
    """Find every problem that the headers tell and forecast the rest; with `out`, look at the place of the output too.

    Raises:
        Problems: several; or the one RecipeError, InputError or StorageError.
    """
    how = How(threads, None if memory is None else given_bytes(memory), overwrite=overwrite)
    wanted = given_recipe(recipe, Overrides(dtype, None, shard_size, drop, strip_prefix, tokenizer))
    place = None if out is None else Path(out)
    with _planned(wanted, place, how, lookup_with(plugins)) as (job, learning):
        speed = _reading_speed(job.sources.values())
        moved = sum(stage.forecast.read + stage.forecast.written for stage in job.stages)
        return Checked(
            tuple(_step(stage, learning) for stage in job.stages),
            max(stage.forecast.threads for stage in job.stages),
            max(stage.forecast.peak_memory for stage in job.stages),
            speed,
            moved / speed if speed else None,
            None if place is None else Room(bytes_needed(job.stages), free_bytes(place)),
            job.notes,
            learning,
        )


@contextmanager
def _planned(
    recipe: Recipe, out: Path | None, how: How, lookup: Lookup
) -> Generator[tuple[Undertaking, Learning | None]]:
    if is_measured(recipe, lookup):
        with ground(recipe, out, how, lookup) as measured_on:
            yield measured_on.job, None
        return
    if not is_learned(recipe):
        with undertaking(with_idle_data_told(recipe, lookup), out, how, lookup) as job:
            yield job, None
        return
    with lesson(recipe, out, how, lookup) as taken:
        tasks = {name: (len(one.learning), len(one.stopping)) for name, one in taken.examples.items()}
        choice = taken.chosen
        yield taken.job, Learning(choice.method, taken.scalars, choice.preset.solver.steps, tasks)


def _step(stage: Stage, learning: Learning | None) -> StepForecast:
    cost = stage.forecast
    method = learning.preset if learning else stage.step.method
    return StepForecast(stage.step.name, method, cost.tensors, cost.read, cost.written, cost.passes)


def _reading_speed(sources: Iterable[Source]) -> float | None:
    """Bytes per second, over a few megabytes of the largest tensors; None where there are too few."""
    buffer = memoryview(bytearray(b"\1" * _SAMPLE))  # written to once, so that only reading is timed
    began, nbytes = time.perf_counter(), 0
    for source in list(sources)[:_SAMPLES]:
        name, header = max(source.headers().items(), key=lambda item: item[1].nbytes, default=("", None))
        if header is not None and header.nbytes:
            size = itemsize(header.dtype)
            part = buffer[: min(_SAMPLE // size, header.numel) * size]
            source.read_into(name, (header.numel - len(part) // size) // 2, part)
            nbytes += len(part)
    return nbytes / (time.perf_counter() - began) if nbytes >= _LEAST else None
