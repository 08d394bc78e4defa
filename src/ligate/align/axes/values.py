"""What is known of the tensors of a graph, and operations by what they do to the units of an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .atoms import Axis

Axes = list[Axis]

CASTS = frozenset(
    [
        "alias",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "feature_dropout",
        "float",
        "lift_fresh_copy",
        "to",
        "_to_copy",
        "type_as",
    ]
)
"""Give the same numbers again."""

SUMS = frozenset(["add", "add_", "sub", "sub_", "rsub", "neg"])
PRODUCTS = frozenset(["mul", "mul_", "div", "div_"])
GROUPED = frozenset(["grouped_mm", "grouped_mm_fallback", "_grouped_mm"])
CONTRACTIONS = GROUPED | frozenset(["linear", "addmm", "matmul", "mm", "bmm"])
ODD = frozenset(["tanh", "tanh_", "sin", "erf", "softsign", "reciprocal", "asinh", "sign"])
ANY = frozenset(
    [
        "abs",
        "and",
        "bitwise_and",
        "bitwise_not",
        "bitwise_or",
        "clamp",
        "clamp_max",
        "clamp_min",
        "cos",
        "elu",
        "eq",
        "exp",
        "expm1",
        "fill",
        "ge",
        "gelu",
        "gt",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "le",
        "leaky_relu",
        "log",
        "log1p",
        "log_sigmoid",
        "logical_and",
        "logical_not",
        "logical_or",
        "lt",
        "masked_fill",
        "maximum",
        "minimum",
        "mish",
        "ne",
        "pow",
        "relu",
        "relu_",
        "relu6",
        "rsqrt",
        "selu",
        "sigmoid",
        "sigmoid_",
        "silu",
        "silu_",
        "softplus",
        "sqrt",
        "square",
        "where",
        "zeros_like",
        "ones_like",
        "full_like",
    ]
)
"""Functions of each number by itself."""

POINTWISE = SUMS | PRODUCTS | ODD | ANY

KEEP_SCALES = frozenset(
    ["view", "reshape", "flatten", "unflatten", "_unsafe_view", "unsqueeze", "squeeze", "expand", "expand_as", "index"]
    + ["select", "slice", "mean", "sum"]
)
"""Rearrange, pick or average batch and positions; what scales the units is still all that was done to them."""


@dataclass(frozen=True)
class Value:
    """A tensor among the arguments of an operation.

    Args:
        weight: its name, if it is a weight of the model, perhaps transposed; `dims` are then the weight's own axes.
        square: it is the elementwise square of something, of which only a sum is rotation-invariant.
        scale: the weight that has just multiplied the units, number by number.
        rows: an axis that every row of the value belongs to one unit of, although it is no axis of the value: experts.
    """

    axes: Axes
    shape: tuple[int, ...]
    weight: str = ""
    dims: tuple[int, ...] = ()
    square: bool = False
    scale: str = ""
    rows: Axis = ()


def tensors_in(given: Sequence[Any]) -> list[Value]:
    found: list[Value] = []
    for value in given:
        if isinstance(value, Value):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_in(value)
    return found
