"""Similarity of two representations as a number, whatever the order of their units.

X [n, p] and Y [n, q] are activations of two networks on the same n samples; the mean over the samples is taken off
every unit first. All indices but for a sum of lengths come from X^T X, Y^T Y and X^T Y, and only the last one changes
when samples are paired otherwise. None of the indices knows how many samples it would need: `chance` tells what
unrelated networks get. What each can and cannot say stands in docs/similarity.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from ligate.align.analysis.correlation import require_same_samples
from ligate.core.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.99
_LEAST_SAMPLES = 4  # of the debiased estimate
_NOISE = 1e-13  # of the largest squared singular value: below is rounding


class Side:
    """Activations of one network, without their means, and what is calculated of them once."""

    def __init__(self, values: Tensor) -> None:
        wide = values.double()
        self.values = wide - wide.mean(0)

    @cached_property
    def square(self) -> Tensor:
        """X^T X, [units, units]."""
        return self.values.T @ self.values

    @cached_property
    def lengths(self) -> Tensor:
        """|x_i|^2 of every sample."""
        return self.values.square().sum(1)

    def main(self, kept: float) -> Tensor:
        """[units, k] that turns X into its main left singular vectors.

        They are the fewest with this share of the variance; squares below `_NOISE` of the largest are rounding.
        """
        squares, vectors = self._spectrum
        if not len(squares) or not float(squares[0]):
            return vectors[:, :0]
        shares = squares.cumsum(0) / squares.sum()
        enough = int((shares < kept - _NOISE).sum()) + 1
        count = min(enough, int((squares > _NOISE * squares[0]).sum()))
        return vectors[:, :count] / squares[:count].sqrt()

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        squares, vectors = torch.linalg.eigh(self.square)
        return squares.flip(0).clamp_min(0), vectors.flip(1)


class Pair(NamedTuple):
    """Two networks on the same samples: `product` is X^T Y, `lengths` the sum of |x_i|^2 |y_i|^2."""

    a: Side
    b: Side
    product: Tensor
    lengths: float


Index: TypeAlias = "Callable[[Pair], float | None]"
"""A number, or None where it is not defined."""


def paired(x: Tensor, y: Tensor) -> Pair:
    """Raises InputError where the networks were not given the same samples."""
    require_same_samples(x, y)
    a, b = Side(x), Side(y)
    return _with_order(a, b, torch.arange(len(x)))


def _with_order(a: Side, b: Side, order: Tensor) -> Pair:
    return Pair(a, b, a.values.T @ b.values[order], float(a.lengths @ b.lengths[order]))


def linear_cka(pair: Pair) -> float | None:
    """|X^T Y|_F^2 / (|X^T X|_F |Y^T Y|_F), from 0 to 1. None where a network says the same on all samples.

    Unchanged by rotations of the units and by one factor for all of them, not by factors of single units. Far above 0
    for unrelated networks when there are few samples for many units.

    Source: "Similarity of Neural Network Representations Revisited", arXiv 1905.00414, equation 4.
    """
    below = float(pair.a.square.norm() * pair.b.square.norm())
    return float(pair.product.square().sum()) / below if below > 0 else None


def debiased_cka(pair: Pair) -> float | None:
    """Linear CKA from unbiased estimates: about 0 for unrelated networks, also below 0, at most 1.

    H(X, Y) / sqrt(H(X, X) H(Y, Y)), with K = X X^T and L = Y Y^T without their diagonals and

        H = [tr(K L) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 (1'K L 1) / (n-2)] / (n (n-3)).

    None where it is not defined: fewer than 4 samples, or an estimate of H(X, X) that is not above 0.

    Source: the estimate of "Feature Selection via Dependence Maximization" (Song et al., JMLR 13, 2012), as used for
    CKA in "Do Wide and Deep Networks Learn the Same Things?", arXiv 2010.15327.
    """
    if len(pair.a.values) < _LEAST_SAMPLES:
        return None
    own, other = (_unbiased_hsic(_itself(side)) for side in (pair.a, pair.b))
    return _unbiased_hsic(pair) / (own * other) ** 0.5 if own > 0 and other > 0 else None


def svcca(pair: Pair, kept: float = KEPT) -> float | None:
    """The mean canonical correlation between the main directions of both, from 0 to 1.

    X is cut down to the directions with the largest variance that have the share `kept` of it together, likewise Y; the
    canonical correlations are the singular values of U_x^T U_y with U their left singular vectors, and the mean is over
    as many as the smaller of the two has directions. Unchanged by rotations and by one factor for all units. About
    sqrt((k_x + k_y) / n) and more for unrelated networks, and 1 wherever there are more directions than samples.

    Source: "SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and Interpretability",
    arXiv 1706.05806. Differs: the share is one of the variance (squared singular values), as the paper says; the
    authors' published examples add up the singular values themselves, which keeps more directions.
    """
    left, right = pair.a.main(kept), pair.b.main(kept)
    if not left.shape[1] or not right.shape[1]:
        return None
    return float(torch.linalg.svdvals(left.T @ pair.product @ right).clamp(0, 1).mean())


def pwcca(pair: Pair, kept: float = KEPT) -> float | None:
    """SVCCA's correlations, each weighted by how much of X its canonical vector accounts for: from 0 to 1.

    With h_i the canonical vectors on the side of X: sum_i a_i rho_i / sum_i a_i, where a_i = sum_j |<h_i, x_j>| over
    the units of X. Not symmetric: exchange the networks, and it differs. Unchanged by rotations of Y and by orders of
    the units of X, but not by rotations of X: the weights look at single units.

    Source: "Insights on representational similarity in neural networks with canonical correlation", arXiv 1806.05759.
    Differs: X and Y are first cut down as for SVCCA, so that rounding noise is no direction.
    """
    left, right = pair.a.main(kept), pair.b.main(kept)
    if not left.shape[1] or not right.shape[1]:
        return None
    turn, values, _ = torch.linalg.svd(left.T @ pair.product @ right, full_matrices=False)
    weights = ((left @ turn).T @ pair.a.square).abs().sum(1)
    return float((weights * values.clamp(0, 1)).sum() / weights.sum())


def procrustes(pair: Pair) -> float | None:
    """The squared distance that is left after the best rotation, from 0 (the same up to rotation) to 2.

    With |X|_F = |Y|_F = 1:  min over orthogonal Q of |X Q - Y|_F^2 = 2 - 2 |X^T Y|_*; where the widths differ, the
    narrower one is filled up with units that are 0. A metric when its root is taken.

    Source: "Grounding Representation Similarity with Statistical Testing", arXiv 2108.01661, section 2.
    """
    below = float(pair.a.square.trace() * pair.b.square.trace()) ** 0.5
    if not below:
        return None
    shared = float(torch.linalg.svdvals(pair.product).sum()) / below
    return min(max(2 - 2 * shared, 0.0), 2.0)


INDICES: Mapping[str, Index] = {
    "cka": linear_cka,
    "debiased_cka": debiased_cka,
    "svcca": svcca,
    "pwcca": pwcca,
    "procrustes": procrustes,
}


class Chance(NamedTuple):
    """What an index says of unrelated networks with these very activations: the mean and the largest of some draws."""

    mean: float
    largest: float


def by_lot(pair: Pair, *, rows: int = 1, draws: int = 5, seed: int = 0) -> list[Pair]:
    """The same activations with the samples of Y given to those of X by lot.

    Args:
        rows: samples that belong to one input (places of an image, tokens of a text) and stay together; shuffling
            them apart would make unrelated networks look less alike than they do.

    Raises:
        RecipeError: `rows` does not divide the samples.
    """
    count = len(pair.b.values)
    if rows < 1 or count % rows:
        raise RecipeError(f"{count} samples are not made of blocks of {rows}", hint="say how many one input gives.")
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.arange(count).reshape(-1, rows)
    orders = [blocks[torch.randperm(len(blocks), generator=generator)].flatten() for _ in range(draws)]
    return [_with_order(pair.a, pair.b, order) for order in orders]


def chance(index: Index, drawn: Sequence[Pair]) -> Chance | None:
    """What an index says of pairs that were drawn by lot: nothing but the number of samples is left to it."""
    found = [value for each in drawn if (value := index(each)) is not None]
    return Chance(sum(found) / len(found), max(found)) if found else None


def _itself(side: Side) -> Pair:
    return Pair(side, side, side.square, float(side.lengths @ side.lengths))


def _unbiased_hsic(pair: Pair) -> float:
    """Without the n x n matrices: X^T 1 = 0, so a row of K without its diagonal adds up to -|x_i|^2."""
    n = len(pair.a.values)
    trace = float(pair.product.square().sum()) - pair.lengths
    both = float(pair.a.lengths.sum() * pair.b.lengths.sum())
    total = trace + both / ((n - 1) * (n - 2)) - 2 * pair.lengths / (n - 2)
    return total / (n * (n - 3))
