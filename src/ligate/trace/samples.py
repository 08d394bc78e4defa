"""The same elements of every model, few enough to keep: they tell what sums over all elements do not.

Of a matrix a patch is kept (evenly spread rows, the first columns), of any other tensor a run from its start. A patch
of p x p elements of a change of rank r < p has rank r itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ligate.core.tensors import Source

from .gathering import Gathered, read_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES = 256 << 20  # of the samples of all models together
_MOST = 1 << 20  # elements of one model
_LEAST_SIDE, _LARGEST_SIDE = 24, 256
_RUN = 512
_FEW, _NARROW, _WHOLE = 3, 8, 1 << 18  # whole matrices; their least side, and how large they may be


class Sample(NamedTuple):
    """Elements of one tensor: `rows` x `columns` of a matrix, one row of anything else."""

    name: str
    holders: tuple[int, ...]
    rows: int
    columns: int
    values: NDArray[np.float32]  # [holders, rows * columns]
    width: int  # columns of the whole matrix; 0 where it is none
    height: int


def samples(sources: Sequence[Source], gathered: Sequence[Gathered]) -> list[Sample]:
    """One for each tensor, in the same order."""
    matrices = sum(each.is_matrix for each in gathered)
    budget = min(_MOST, _BYTES // (4 * max(len(sources), 1)))
    side = int(np.clip((budget / max(matrices, 1)) ** 0.5, _LEAST_SIDE, _LARGEST_SIDE))
    return [_sample(sources, each, side) for each in gathered]


def whole(sources: Sequence[Source], gathered: Sequence[Gathered]) -> list[Sample]:
    """A few matrices as they are: the smallest, and of those the ones in which most models differ."""
    fit = [each for each in gathered if len(each.shape) == 2 and min(each.shape) >= _NARROW and each.size <= _WHOLE]
    held = max((len(each.holders) for each in fit), default=0)
    fit = [each for each in fit if len(each.holders) == held and 4 * _FEW * held * each.size <= _BYTES]
    chosen = sorted(fit, key=lambda each: (each.size, -int((each.squared_distances() > 0).sum()), each.name))[:_FEW]
    return [_sample(sources, each, max(each.shape)) for each in chosen]


def _sample(sources: Sequence[Source], each: Gathered, side: int) -> Sample:
    height = each.shape[0] if each.is_matrix else 1
    width = each.size // height
    rows, columns = (min(height, side), min(width, side)) if each.is_matrix else (1, min(width, _RUN))
    chosen = np.linspace(0, height - 1, rows).round().astype(int) if rows < height else np.arange(height)
    values = np.empty((len(each.holders), rows, columns), dtype=np.float32)
    for place, model in enumerate(each.holders):
        if columns == width and rows == height:
            values[place] = read_run(sources[model], each.name, 0, each.size).reshape(rows, columns)
            continue
        for row, number in enumerate(chosen):
            values[place, row] = read_run(sources[model], each.name, int(number) * width, columns)
    flat = values.reshape(len(each.holders), -1)
    matrix = (width, height) if each.is_matrix else (0, 0)
    return Sample(each.name, each.holders, rows, columns, flat, *matrix)
