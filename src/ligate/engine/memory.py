"""How many threads fit under the memory limit."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ligate.core.errors import RecipeError
from ligate.core.tensors import itemsize

from .job import Job

DEFAULT = 1_000_000_000
_TORCH = 205_000_000  # what a process grows by when torch is loaded
_OURS = 400_000_000  # what more a process holds by then is not ours, but models of whoever called us
_TEMPORARIES = 5  # copies of a block that a rule may hold at once
_SLACK = 48_000_000  # allocator, journal, statistics
_TINY = 1 << 17  # bytes of all operands
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_bytes(text: str) -> int:
    """`4G`, `512MB`, `1.5GiB`, `100000` -> bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text, re.IGNORECASE)
    if not found:
        raise RecipeError(f"'{text}' is no amount of bytes", hint="write for example 512MB, 4GB or 1.5GiB.")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def thread_count(threads: int | None, jobs: Sequence[Job] = ()) -> int:
    """As asked, else the processors this process may use; but one where tensors are tiny.

    The work on a tiny tensor is in the interpreter, and threads that take turns there cost more than they do.
    """
    if threads is None:
        if sum(map(_read, jobs)) < _TINY * len(jobs):
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise RecipeError(f"{threads} threads cannot do anything", hint="give at least 1, or leave it out.")
    return threads


def admitted(jobs: Sequence[Job], threads: int, memory: int | None) -> int:
    """The number of threads, at most `threads`, whose buffers fit; RecipeError when not even one does."""
    limit, held = (DEFAULT, min(resident_bytes(), _OURS)) if memory is None else (memory, resident_bytes())
    used = held + _SLACK
    each = max((workspace_bytes(job) for job in jobs), default=0)
    fitting = (limit - used) // max(each, 1)
    if fitting >= 1:
        return int(min(threads, fitting))
    if memory is None:  # the default is a promise for ordinary rules; a rule that declares more gets one thread
        return 1
    raise RecipeError(
        f"--memory {memory / 1e6:.0f} MB is too little: Ligate itself takes {used / 1e6:.0f} MB and "
        f"one thread's buffers {each / 1e6:.0f} MB",
        hint=f"give at least {(used + each) / 1e6:.0f}MB.",
    )


def _read(job: Job) -> int:
    """Bytes of all operands."""
    return job.nbytes


def workspace_bytes(job: Job) -> int:
    """Buffers and temporaries of one thread for this tensor."""
    n = min(job.cut.block, max(job.cut.numel, 1))
    sizes = job.sizes(n)
    stored = sum(size * itemsize(dtype) for size, dtype in zip(sizes, job.stored, strict=True))
    moved, numbers = stored + n * itemsize(job.out.dtype), sum(sizes) * itemsize(job.compute)
    if job.card is not None and job.card.scratch is not None:
        return moved + numbers + job.card.scratch(job.out.params, job.out.shape, len(job.out.tuned))
    return moved + numbers * (1 + _TEMPORARIES)


def resident_bytes() -> int:
    """Memory this process holds before it merges, torch included; 0 where the system does not tell."""
    try:
        held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
    return held if "torch._C" in sys.modules else held + _TORCH
