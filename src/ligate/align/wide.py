"""Models that compute parts in float32 whatever their weights are (norms, softmax, routers), computed in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Wide(TorchFunctionMode):
    """While it is entered, whoever asks for float32 gets float64.

    >>> with Wide():
    ...     torch.ones(2, dtype=torch.float64).to(torch.float32).dtype
    torch.float64
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        if getattr(func, "__name__", "") == "_grouped_mm" and args[0].dtype == torch.float64:
            return _grouped(args[0], args[1], (kwargs or {})["offs"])
        return func(*map(_wide, args), **{name: _wide(value) for name, value in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def _grouped(x: torch.Tensor, weight: torch.Tensor, stops: torch.Tensor) -> torch.Tensor:
    """Torch has this product of rows and their experts' matrices for narrower numbers only."""
    starts = [0, *stops.tolist()]
    rows = [x[start:stop] @ each for start, stop, each in zip(starts, starts[1:], weight, strict=False)]
    return torch.cat([*rows, x.new_zeros(len(x) - starts[-1], weight.shape[-1])])
