"""A network beside another before their weights are compared: units in the other's order, heads in its coordinates.

A permutation of hidden units, a turned stream or a lock changes no answer of a network, but every difference of
weights: distances grow to those of strangers, and the step of fine-tuning becomes meaningless. Plain similarity of what
the networks say of inputs is not touched by any of this, as far as the units compared were not moved themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ligate.align.maps import Group, applied
from ligate.align.matching import weight_matching
from ligate.trace.heads import in_heads
from ligate.trace.undoing import undone

if TYPE_CHECKING:
    from torch import Tensor


def beside(
    state: Mapping[str, Tensor], like: Mapping[str, Tensor], groups: Sequence[Group], *, starts: int = 1
) -> dict[str, Tensor]:
    """Weights that compute the same in coordinates as near to those of `like` as are found.

    Orders of units by the weights (`ligate align`), then the gauge of each head by least squares (`trace.undoing`).
    Strangers are brought nearer, too, but not near.

    Args:
        groups: what may be moved, `ligate.align.axes.graph.symmetries(network, inputs).groups`.

    Raises:
        InputError: the weights do not have the same shapes.
    """
    if not groups:
        return dict(state)
    ordered = weight_matching(like, state, groups, starts=starts).applied(state, groups)
    moved = applied(ordered, undone(ordered, like, in_heads(groups)))
    return {name: value.to(state[name].dtype) for name, value in moved.items()}
