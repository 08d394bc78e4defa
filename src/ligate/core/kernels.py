"""The innermost loops on tensors: compiled where the installation had a C compiler, in torch elsewhere; equal bits.

All tensors are contiguous and on the CPU.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import compiled, direct
from .direct import Census

if TYPE_CHECKING:
    from torch import Tensor

_STEP = 512  # elements that are added as a tree
_KINDS = {"torch.float32": "real32", "torch.float64": "f64"}


def widen(stored: Tensor, numbers: Tensor, *, check: bool) -> bool:
    """Cast `stored` [n] into `numbers` [n]; with `check`, whether all numbers are finite."""
    if numbers.dtype.itemsize == 4 and str(stored.dtype) == "torch.bfloat16" and (library := compiled.library()):
        return bool(library.widen_bf16(stored.data_ptr(), numbers.data_ptr(), len(numbers)))
    numbers.copy_(stored)
    return not check or all_finite(numbers)


def narrow(numbers: Tensor, result: Tensor, *, check: bool) -> bool:
    """Round `numbers` [n] into `result` [n], once; with `check`, whether all results are finite. NaN has one form."""
    if numbers.dtype.itemsize == 8 and result.dtype.itemsize == 2:  # torch rounds to float32 first, and then again
        numbers = _odd(numbers)
    if numbers.dtype.itemsize == 4 and str(result.dtype) == "torch.bfloat16" and (library := compiled.library()):
        return bool(library.narrow_bf16(numbers.data_ptr(), result.data_ptr(), len(result)))
    result.copy_(numbers)
    if check:
        return all_finite(result)
    result.masked_fill_(result.isnan(), math.nan)
    return True


def _odd(numbers: Tensor) -> Tensor:
    """float64 as float32 whose last bit is odd where it is not exact, so that rounding again cannot go wrong."""
    import torch

    if library := compiled.library():
        out = torch.empty(len(numbers), dtype=torch.float32)
        library.narrow_odd(numbers.data_ptr(), out.data_ptr(), len(numbers))
        return out
    near = numbers.float()
    back, bits = near.double(), near.view(torch.int32)
    bits -= (back.abs() > numbers.abs()).int()
    bits |= (back != numbers).int()
    return near


def all_finite(numbers: Tensor) -> bool:
    """A sum is the cheapest detector: NaN and infinity survive it. Only a sum that is not finite needs a look."""
    total = numbers.sum(dtype=numbers.new_empty(0).double().dtype) if numbers.dtype.itemsize == 2 else numbers.sum()
    return math.isfinite(total.item()) or bool(numbers.isfinite().all())


def weighted_sum(rows: Tensor, weights: Sequence[float], divisor: float = 1.0) -> Tensor:
    r""":math:`\sum_k w_k x_k / d` over rows [K, n], summed in the order of k; in float64, rounded once."""
    if loop := _loop("weighted_sum", rows):
        out = rows.new_empty(rows.shape[1])
        loop(_table(rows), compiled.doubles(weights), divisor, out.data_ptr(), *rows.shape)
        return out
    total = _summed(row.double() * weight for row, weight in zip(rows, weights, strict=True))
    return (total if divisor == 1 else total / divisor).to(rows.dtype)


def add_weighted(base: Tensor, rows: Tensor, weights: Sequence[float], scale: float, *, models: bool) -> Tensor:
    r""":math:`x_0 + \lambda \sum_k w_k \tau_k` over base [n] and rows [K, n]; in float64, rounded once.

    With `models` a row is a model and :math:`\tau_k` its difference from the base; else it is :math:`\tau_k`.
    """
    if loop := _loop("add_weighted", rows, base):
        out = base.new_empty(len(base))
        tables = base.data_ptr(), _table(rows), compiled.doubles(weights)
        loop(*tables, int(models), scale, out.data_ptr(), *rows.shape)
        return out
    start = base.double()
    taus = (row.double() - start if models else row.double() for row in rows)
    step = _summed(tau * weight for tau, weight in zip(taus, weights, strict=True))
    return (start + step * scale).to(base.dtype)


def census(row: Tensor, low: float, high: float) -> Census:
    """Count the magnitudes of a row [n] against two bounds."""
    if row.ndim == 1 and _loop("census", row):
        return direct.census(_KINDS[str(row.dtype)], None, row.data_ptr(), low, high, len(row))
    x = row.detach().abs().numpy(force=True)
    bottom, top = x.dtype.type(low), x.dtype.type(high)
    below_top = x < top
    smaller = (x <= top, below_top, x <= bottom, x < bottom)
    above, to_high, beyond_low, to_low = (len(x) - int(mask.sum()) for mask in smaller)
    return Census(above, to_high, beyond_low, to_low, x[(x > bottom) & below_top], len(x))


def length(row: Tensor) -> float:
    """The sum of the magnitudes of a row [n], in float64 and in an order of its own."""
    if row.ndim == 1 and (loop := _loop("length", row)):
        return loop(None, row.data_ptr(), len(row))
    return _folded(row.detach().reshape(-1).abs().double())


def dot(row: Tensor, other: Tensor) -> float:
    """The dot product of two rows [n] of float64, in the same order of its own."""
    if row.ndim == 1 and row.dtype == other.dtype and _plain(other) and (loop := _loop("dot", row)):
        return loop(None, row.data_ptr(), other.data_ptr(), len(row))
    return _folded((row.detach() * other.detach()).reshape(-1).double())


def _folded(numbers: Tensor) -> float:
    """Their sum: as a tree over so many neighbours, then one after the other."""
    import torch

    tree = torch.nn.functional.pad(numbers, (0, -numbers.numel() % _STEP)).view(-1, _STEP)
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
    return functools.reduce(operator.add, tree[:, 0].tolist(), 0.0)


def disjoint_merge(
    base: Tensor,
    rows: Tensor,
    bounds: Sequence[float],
    gains: Sequence[float],
    weights: Sequence[float],
    *,
    models: bool,
    tie: int,
    least: float,
    scale: float,
) -> Tensor:
    r"""Trim rows [K, n] below their bounds, elect a sign per element, add what has that sign to base [n].

    .. math::
        p_k = g_k \tau_k [|\tau_k| \ge b_k], \quad s = \operatorname{sgn} \sum_k p_k, \quad
        \theta = \theta_0 + \lambda \sum_{k:\, \operatorname{sgn} p_k = s} p_k
        \Big/ \sum_{k:\, \operatorname{sgn} p_k = s} w_k

    With `models` a row is a model and :math:`\tau_k` its difference from the base; else it is :math:`\tau_k`.
    `tie` (-1, 0, 1) is the sign of a zero sum. `least` > 0 is the smallest possible divisor; `least` < 0 lets a
    divisor not larger than its magnitude count as 1; 0 means no divisor.
    """
    if loop := _loop("disjoint_merge", rows, base):
        out, bounds = base.new_empty(len(base)), compiled.reals(_KINDS[str(rows.dtype)], bounds)
        tables = base.data_ptr(), _table(rows), bounds, compiled.doubles(gains), compiled.doubles(weights)
        loop(*tables, int(models), tie, least, scale, out.data_ptr(), *rows.shape)
        return out
    start, parts = base.double(), _parts(base, rows, bounds, gains, models=models)
    sign = _summed(parts).detach().sign()
    sign = sign + tie * (1 - sign.abs())
    up, down = sign.clamp_min(0), (-sign).clamp_min(0)
    total = _summed(part.clamp_min(0) for part in parts) * up + _summed(part.clamp_max(0) for part in parts) * down
    if least:
        voters = [part.detach().sign() for part in parts]
        for_up = _summed(vote.clamp_min(0) * weight for vote, weight in zip(voters, weights, strict=True))
        for_down = _summed((-vote).clamp_min(0) * weight for vote, weight in zip(voters, weights, strict=True))
        divisor = for_up * up + for_down * (1 - up)
        total = total / (divisor.clamp_min(least) if least > 0 else _or_one(divisor, -least))
    return (start + total * scale).to(base.dtype)


def lead_of_plus(base: Tensor, rows: Tensor, bounds: Sequence[float], gains: Sequence[float], *, models: bool) -> int:
    """How many more elements have a positive than a negative sum of what `disjoint_merge` would elect by."""
    if loop := _loop("lead_of_plus", rows, base):
        tables = base.data_ptr(), _table(rows), compiled.reals(_KINDS[str(rows.dtype)], bounds), compiled.doubles(gains)
        return int(loop(*tables, int(models), *rows.shape))
    mass = _summed(_parts(base, rows, bounds, gains, models=models)).numpy(force=True)
    return int(np.count_nonzero(mass > 0)) - int(np.count_nonzero(mass < 0))


def _parts(
    base: Tensor, rows: Tensor, bounds: Sequence[float], gains: Sequence[float], *, models: bool
) -> Sequence[Tensor]:
    """Per row what it brings to the election; + 0.0, since a part of -0.0 is no part."""
    start = base.double()
    return [
        _trimmed(row - base if models else row, bound, (row.double() - start if models else row.double()) * gain) + 0.0
        for row, bound, gain in zip(rows, bounds, gains, strict=True)
    ]


def _trimmed(row: Tensor, bound: float, part: Tensor) -> Tensor:
    """`part`, with 0 where the magnitude in `row` is below the bound."""
    return part.masked_fill(row.detach().abs() < row.new_tensor(bound), 0.0)


def _or_one(divisor: Tensor, nothing: float) -> Tensor:
    return divisor.masked_fill(divisor.abs() <= nothing, 1.0)


def _summed(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)


def _table(rows: Tensor) -> Any:
    """The addresses of the rows [K, n]."""
    start, stride = rows.data_ptr(), rows.stride(0) * rows.element_size()
    return compiled.addresses([start + k * stride for k in range(len(rows))])


def _loop(name: str, rows: Tensor, base: Tensor | None = None) -> Any:
    """The compiled loop for these tensors; None where torch must do it (gradients, other devices, other layouts)."""
    kind = _KINDS.get(str(rows.dtype))
    if kind is None or not _plain(rows) or rows.ndim > 2:
        return None
    if base is not None and not (_plain(base) and base.dtype == rows.dtype and base.shape == rows.shape[1:]):
        return None
    return compiled.loop(name, kind)


def _plain(tensor: Tensor) -> bool:
    return not tensor.requires_grad and tensor.is_contiguous() and tensor.device.type == "cpu"
