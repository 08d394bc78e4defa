"""What a checkpoint holds, from its headers; on request also what its numbers look like."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Header, Source

from .opening import Model, opened
from .values import numbers, stored_blocks


@dataclass(frozen=True)
class Numbers:
    """Statistics of one tensor over its finite values; None where there are none."""

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    norm: float
    zeros: float  # share
    nonfinite: int


@dataclass(frozen=True)
class TensorInfo:
    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: str
    numbers: Numbers | None = None


@dataclass(frozen=True)
class Inspection:
    label: str
    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors))

    @property
    def dtypes(self) -> Mapping[str, tuple[int, int]]:
        """dtype -> (tensors, bytes), the largest first."""
        found: dict[str, tuple[int, int]] = {}
        for tensor in self.tensors:
            tensors, nbytes = found.get(tensor.dtype, (0, 0))
            found[tensor.dtype] = (tensors + 1, nbytes + tensor.nbytes)
        return dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0])))


def inspect(model: Model, *, only: str | None = None, stats: bool = False) -> Inspection:
    """Names, shapes, dtypes and metadata of a checkpoint. `only` is a glob on names; `stats` reads the numbers.

    Raises:
        InputError: the checkpoint cannot be read.
        RecipeError: `only` matches no tensor.
    """
    with opened(model) as source:
        names = _chosen(source.headers(), only)
        tensors = tuple(_info(source, name, stats) for name in names)
        return Inspection(source.label, tensors, dict(source.metadata()))


def _chosen(headers: Mapping[str, Header], only: str | None) -> list[str]:
    names = [name for name in headers if only is None or fnmatch.fnmatchcase(name, only)]
    if only is not None and not names:
        raise RecipeError(f"no tensor is called '{only}'", hint=nearest(only, headers))
    return names


def _info(source: Source, name: str, stats: bool) -> TensorInfo:
    header = source.headers()[name]
    file = Path(source.place(name)).name
    return TensorInfo(name, header.dtype, header.shape, header.nbytes, file, _measured(source, name) if stats else None)


def _measured(source: Source, name: str) -> Numbers:
    import torch

    count, zeros, nonfinite = 0, 0, 0
    total, squares, low, high = 0.0, 0.0, math.inf, -math.inf
    for stored in stored_blocks(source, name):
        x = numbers(stored)
        finite = torch.isfinite(x)
        if not finite.all():
            nonfinite += int((~finite).sum())
            x = x[finite]
        if x.numel():
            count += x.numel()
            zeros += int((x == 0).sum())
            total += x.sum().item()
            squares += x.dot(x).item()
            low, high = min(low, x.min().item()), max(high, x.max().item())
    if not count:
        return Numbers(None, None, None, None, 0.0, 0.0, nonfinite)
    mean = total / count
    return Numbers(
        mean,
        math.sqrt(max(squares / count - mean * mean, 0.0)),
        low,
        high,
        math.sqrt(squares),
        zeros / count,
        nonfinite,
    )
