"""The innermost loops: compiled (kernels.c) where the installation had a C compiler, in torch elsewhere; equal bits.

All tensors are contiguous and on the CPU. `LIGATE_NO_KERNELS=1` switches to torch, for tests and comparisons.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_ADDRESS, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_SIGNATURES = {
    "widen_bf16": (_ADDRESS, _ADDRESS, _SIZE),
    "narrow_bf16": (_ADDRESS, _ADDRESS, _SIZE),
    "weighted_sum": (_ADDRESS, _ADDRESS, _ADDRESS, _SIZE, _SIZE),
    "weighted_deltas": (_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE, _SIZE),
}
_SUFFIX = {"torch.float32": "_f32", "torch.float64": "_f64"}


def compiled() -> bool:
    """Whether the compiled loops are in use."""
    return _library() is not None


def widen(stored: Tensor, numbers: Tensor, *, check: bool) -> bool:
    """Cast `stored` [n] into `numbers` [n]; with `check`, whether all numbers are finite."""
    if numbers.dtype.itemsize == 4 and str(stored.dtype) == "torch.bfloat16" and (library := _library()):
        return bool(library.widen_bf16(stored.data_ptr(), numbers.data_ptr(), len(numbers)))
    numbers.copy_(stored)
    return not check or all_finite(numbers)


def narrow(numbers: Tensor, result: Tensor, *, check: bool) -> bool:
    """Round `numbers` [n] into `result` [n]; with `check`, whether all results are finite."""
    if numbers.dtype.itemsize == 4 and str(result.dtype) == "torch.bfloat16" and (library := _library()):
        return bool(library.narrow_bf16(numbers.data_ptr(), result.data_ptr(), len(result)))
    result.copy_(numbers)
    return not check or all_finite(result)


def all_finite(numbers: Tensor) -> bool:
    """A sum is the cheapest detector: NaN and infinity survive it. Only a sum that is not finite needs a look."""
    total = numbers.sum(dtype=numbers.new_empty(0).double().dtype) if numbers.dtype.itemsize == 2 else numbers.sum()
    return math.isfinite(total.item()) or bool(numbers.isfinite().all())


def weighted_sum(rows: Tensor, weights: Sequence[float]) -> Tensor:
    r""":math:`\sum_k w_k x_k` over rows [K, n], summed in the order of k."""
    if name := _fitting("weighted_sum", rows):
        out, factors = rows.new_empty(rows.shape[1]), rows.new_tensor(weights)
        name(rows.data_ptr(), factors.data_ptr(), out.data_ptr(), *rows.shape)
        return out
    total = rows[0] * weights[0]
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        total = total + row * weight
    return total


def weighted_deltas(base: Tensor, rows: Tensor, weights: Sequence[float]) -> Tensor:
    r""":math:`\sum_k w_k (x_k - x_0)` over base [n] and rows [K, n], summed in the order of k."""
    if (name := _fitting("weighted_deltas", rows)) and _plain(base):
        out, factors = rows.new_empty(rows.shape[1]), rows.new_tensor(weights)
        name(base.data_ptr(), rows.data_ptr(), factors.data_ptr(), out.data_ptr(), *rows.shape)
        return out
    total = (rows[0] - base) * weights[0]
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        total = total + (row - base) * weight
    return total


def _fitting(name: str, rows: Tensor) -> Any:
    """The compiled loop for these rows; None where torch must do it (gradients, other devices, other layouts)."""
    library, suffix = _library(), _SUFFIX.get(str(rows.dtype))
    if library is None or suffix is None or rows.ndim != 2 or not _plain(rows):
        return None
    return getattr(library, name + suffix)


def _plain(tensor: Tensor) -> bool:
    return not tensor.requires_grad and tensor.is_contiguous() and tensor.device.type == "cpu"


@functools.cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("LIGATE_NO_KERNELS"):
        return None
    try:
        library = ctypes.CDLL(str(Path(__file__).with_name("_kernels.so")))
        for name, arguments in _SIGNATURES.items():
            for suffix in ("",) if name.endswith("_bf16") else _SUFFIX.values():
                function = getattr(library, name + suffix)
                function.argtypes = arguments
                function.restype = ctypes.c_int32 if name.endswith("_bf16") else None
    except (OSError, AttributeError):  # not compiled, or for another version of this file
        return None
    return library
