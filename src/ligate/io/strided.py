"""Tensors whose elements do not lie in order: transposed, sliced or expanded views of a stored run of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .ranges import read_at

_SMALL = 1 << 16  # bytes; as quick to read in one go as a few of them one by one
_LARGE = 1 << 22  # bytes; the most read in one go, and never more than four times what is wanted

Box = tuple[tuple[int, int], ...]


def boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[Box]:
    """Elements [start, stop) of a flattened tensor as boxes, a range per dimension each, in their order.

    >>> list(boxes((3, 4), 2, 9))
    [((0, 1), (2, 4)), ((1, 2), (0, 4)), ((2, 3), (0, 1))]
    """
    if start >= stop:
        return
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    (first, skip), (last, rest) = divmod(start, inner), divmod(stop, inner)
    if first == last:
        yield from (((first, first + 1), *box) for box in boxes(shape[1:], skip, rest))
        return
    if skip:
        yield from (((first, first + 1), *box) for box in boxes(shape[1:], skip, inner))
        first += 1
    if first < last:
        yield ((first, last), *((0, size) for size in shape[1:]))
    if rest:
        yield from (((last, last + 1), *box) for box in boxes(shape[1:], 0, rest))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie in order without gaps; the stride of a dimension of size one says nothing."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How many stored elements lie from the tensor's first to its last one, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def gather(fd: int, begin: int, shape: Sequence[int], strides: Sequence[int], start: int, out: np.ndarray) -> None:
    """Fill the flat `out` with the tensor's elements from `start` on.

    The tensor's first element lies at byte `begin` of the file; strides count elements of the dtype of `out`.
    """
    done = 0
    for box in boxes(shape, start, start + out.size):
        sizes = [high - low for low, high in box]
        first = sum(low * stride for (low, _), stride in zip(box, strides, strict=True))
        count = math.prod(sizes)
        _fill(fd, begin + first * out.itemsize, strides, out[done : done + count].reshape(sizes))
        done += count


def _fill(fd: int, begin: int, strides: Sequence[int], target: np.ndarray) -> None:
    """Read the bytes from first to last element if not too many of them are in vain, else halve the longest way."""
    extent = reach(target.shape, strides) * target.itemsize
    if extent <= _SMALL or extent <= min(_LARGE, 4 * target.nbytes):
        raw = bytearray(extent)
        read_at(fd, begin, memoryview(raw))
        steps = [stride * target.itemsize for stride in strides]
        target[...] = np.ndarray(target.shape, target.dtype, raw, strides=steps)
        return
    axis = max(range(target.ndim), key=lambda i: (target.shape[i] - 1) * strides[i])
    half = target.shape[axis] // 2
    lower, upper = np.split(target, [half], axis)
    _fill(fd, begin, strides, lower)
    _fill(fd, begin + half * strides[axis] * target.itemsize, strides, upper)
