"""exp and tanh as the compiled loops calculate them, operation by operation, so that both give the same bits.

Both are right to a few units in the last place of float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_EXP = [1 / math.factorial(k) for k in range(13, -1, -1)]
_TANH = [
    float.fromhex(text)
    for text in (
        "0x1.355824803674fp-11", "-0x1.7da36452b75e3p-10", "0x1.d6d3d0e157de0p-9",
        "-0x1.226e355e6c23dp-7", "0x1.664f4882c10fap-6", "-0x1.ba1ba1ba1ba1cp-5",
        "0x1.1111111111111p-3", "-0x1.5555555555555p-2", "0x1p+0",
    )
]  # fmt: skip
_SMALL = 0.125  # below, tanh by its series


def exp(x: Tensor) -> Tensor:
    """For float64 between -700 and 700."""
    steps = (x * _LOG2_E).round()
    rest = x - steps * _LN2_HIGH - steps * _LN2_LOW
    power = (steps.to(torch.int64) + 1023 << 52).view(torch.float64)
    return _polynomial(_EXP, rest) * power


def tanh(x: Tensor) -> Tensor:
    """For float64."""
    size = x.abs()
    shrunk = exp(size.clamp_max(20) * -2)
    large = (1 - shrunk) / (1 + shrunk)
    return torch.where(size < _SMALL, _polynomial(_TANH, x * x) * x, torch.where(x < 0, -large, large))


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Horner's scheme, the highest power first."""
    value = torch.full_like(x, coefficients[0])
    for one in coefficients[1:]:
        value.mul_(x).add_(one)
    return value
