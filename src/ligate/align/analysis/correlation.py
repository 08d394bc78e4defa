"""Correlations between units: of one network with itself and of two networks with each other.

Activations are [samples, units]; row n of both networks belongs to the same input (of a convolution: to the same input
and the same place).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ligate.core.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from torch import Tensor

_FLAT = 1e-7  # of the largest activation of a unit: a smaller deviation is rounding


class Standard(NamedTuple):
    """Units with mean 0 and deviation 1 over the samples, without those that are dead.

    Args:
        values: [samples, live units] in float64.
        live: numbers of the units that are left, ascending.
        units: how many there were.
    """

    values: Tensor
    live: Tensor
    units: int

    @property
    def dead(self) -> int:
        """Units that say the same on all samples: they correlate with nothing, and no index is defined for them."""
        return self.units - len(self.live)


class Correlations(NamedTuple):
    """`between` [live units of a, live units of b], `a` and `b` the square matrices within each network."""

    a: Tensor
    b: Tensor
    between: Tensor


def standard(values: Tensor, name: str = "") -> Standard:
    """z = (x - mean) / deviation, with the deviation over all samples (divided by their number).

    Raises:
        InputError: not [samples, units] with at least two samples.
        NonFiniteError: NaN or infinity.
    """
    if values.ndim != 2 or len(values) < 2:
        raise InputError(
            f"activations of the shape {list(values.shape)}",
            where=name,
            hint="hand in [samples, units] with at least two samples; flatten positions into the samples.",
        )
    wide = values.double()
    if not wide.isfinite().all():
        raise NonFiniteError("activations hold NaN or infinity", where=name, hint="look for the layer that makes them.")
    centred = wide - wide.mean(0)
    deviation = centred.square().mean(0).sqrt()
    live = (deviation > _FLAT * wide.abs().amax(0)).nonzero().flatten()
    return Standard(centred[:, live] / deviation[live], live, values.shape[1])


def correlations(a: Standard, b: Standard) -> Correlations:
    """c_ij = mean over samples of z_i z_j, from -1 to 1.

    Raises:
        InputError: the networks were not given the same samples.
    """
    require_same_samples(a.values, b.values)
    return Correlations(
        *(_products(x, y) for x, y in ((a.values, a.values), (b.values, b.values), (a.values, b.values)))
    )


def require_same_samples(a: Tensor, b: Tensor) -> None:
    if len(a) != len(b):
        raise InputError(
            f"{len(a)} samples of one network and {len(b)} of the other",
            hint="record both on the same inputs, and of layers with as many positions.",
        )


def _products(x: Tensor, y: Tensor) -> Tensor:
    return (x.T @ y / max(len(x), 1)).clamp_(-1.0, 1.0)  # rounding may lead beyond
