"""Similarity of two representations as a number, whatever the order of their units.

X [n, p] and Y [n, q] are activations of two networks on the same n samples; the mean over the samples is taken off
every unit first. None of the indices knows how many samples it would need: `chance` tells what unrelated networks get.
What each can and cannot say stands in docs/similarity.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from ligate.align.analysis.correlation import require_same_samples
from ligate.core.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.99
_LEAST_SAMPLES = 4  # of the debiased estimate
_NOISE = 1e-13  # of the largest squared singular value: below is rounding


Index: TypeAlias = "Callable[[Tensor, Tensor], float | None]"
"""X and Y -> a number, or None where it is not defined."""


def linear_cka(x: Tensor, y: Tensor) -> float | None:
    """|X^T Y|_F^2 / (|X^T X|_F |Y^T Y|_F), from 0 to 1. None where a network says the same on all samples.

    Unchanged by rotations of the units and by one factor for all of them, not by factors of single units. Far above 0
    for unrelated networks when there are few samples for many units.

    Source: "Similarity of Neural Network Representations Revisited", arXiv 1905.00414, equation 4.
    """
    x, y = _pair(x, y)
    below = (x.T @ x).norm() * (y.T @ y).norm()
    return float((x.T @ y).square().sum() / below) if below > 0 else None


def debiased_cka(x: Tensor, y: Tensor) -> float | None:
    """Linear CKA from unbiased estimates: about 0 for unrelated networks, also below 0, at most 1.

    H(X, Y) / sqrt(H(X, X) H(Y, Y)), with K = X X^T and L = Y Y^T without their diagonals and

        H = [tr(K L) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 (1'K L 1) / (n-2)] / (n (n-3)).

    None where it is not defined: fewer than 4 samples, or an estimate of H(X, X) that is not above 0.

    Source: the estimate of "Feature Selection via Dependence Maximization" (Song et al., JMLR 13, 2012), as used for
    CKA in "Do Wide and Deep Networks Learn the Same Things?", arXiv 2010.15327.
    """
    x, y = _pair(x, y)
    if len(x) < _LEAST_SAMPLES:
        return None
    own, other = _unbiased_hsic(x, x), _unbiased_hsic(y, y)
    return _unbiased_hsic(x, y) / (own * other) ** 0.5 if own > 0 and other > 0 else None


def svcca(x: Tensor, y: Tensor, kept: float = KEPT) -> float | None:
    """The mean canonical correlation between the main directions of both, from 0 to 1.

    X is cut down to the directions with the largest variance that have the share `kept` of it together, likewise Y; the
    canonical correlations are the singular values of U_x^T U_y with U their left singular vectors, and the mean is over
    as many as the smaller of the two has directions. Unchanged by rotations and by one factor for all units. About
    sqrt((k_x + k_y) / n) and more for unrelated networks, and 1 wherever there are more directions than samples.

    Source: "SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and Interpretability",
    arXiv 1706.05806. Differs: the share is one of the variance (squared singular values), as the paper says; the
    authors' published examples add up the singular values themselves, which keeps more directions.
    """
    left, right = (_main(each, kept) for each in _pair(x, y))
    if not left.shape[1] or not right.shape[1]:
        return None
    return float(torch.linalg.svdvals(left.T @ right).clamp(0, 1).mean())


def pwcca(x: Tensor, y: Tensor, kept: float = KEPT) -> float | None:
    """SVCCA's correlations, each weighted by how much of X its canonical vector accounts for: from 0 to 1.

    With h_i the canonical vectors on the side of X: sum_i a_i rho_i / sum_i a_i, where a_i = sum_j |<h_i, x_j>| over
    the units of X. Not symmetric: pwcca(x, y) and pwcca(y, x) differ. Unchanged by rotations of Y and by orders of the
    units of X, but not by rotations of X: the weights look at single units.

    Source: "Insights on representational similarity in neural networks with canonical correlation", arXiv 1806.05759.
    Differs: X and Y are first cut down as for SVCCA, so that rounding noise is no direction.
    """
    x, y = _pair(x, y)
    left, right = _main(x, kept), _main(y, kept)
    if not left.shape[1] or not right.shape[1]:
        return None
    turn, values, _ = torch.linalg.svd(left.T @ right, full_matrices=False)
    weights = ((left @ turn).T @ x).abs().sum(1)
    return float((weights * values.clamp(0, 1)).sum() / weights.sum())


def procrustes(x: Tensor, y: Tensor) -> float | None:
    """The squared distance that is left after the best rotation, from 0 (the same up to rotation) to 2.

    With |X|_F = |Y|_F = 1:  min over orthogonal Q of |X Q - Y|_F^2 = 2 - 2 |X^T Y|_*; where the widths differ, the
    narrower one is filled up with units that are 0. A metric when its root is taken.

    Source: "Grounding Representation Similarity with Statistical Testing", arXiv 2108.01661, section 2.
    """
    x, y = _pair(x, y)
    if not float(x.norm()) or not float(y.norm()):
        return None
    shared = torch.linalg.svdvals((x / x.norm()).T @ (y / y.norm())).sum()
    return float((2 - 2 * shared).clamp(0, 2))


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


def chance(
    index: Index,
    x: Tensor,
    y: Tensor,
    *,
    rows: int = 1,
    draws: int = 5,
    seed: int = 0,
) -> Chance | None:
    """The index when the samples of Y are given to those of X by lot, so that nothing but the sample size is left.

    Args:
        rows: samples that belong to one input (places of an image, tokens of a text) and stay together; shuffling
            them apart would make unrelated networks look less alike than they do.

    Raises:
        RecipeError: `rows` does not divide the samples.
    """
    if rows < 1 or len(y) % rows:
        raise RecipeError(f"{len(y)} samples are not made of blocks of {rows}", hint="say how many one input gives.")
    generator = torch.Generator().manual_seed(seed)
    blocks = y.unflatten(0, (-1, rows))
    drawn = [blocks[torch.randperm(len(blocks), generator=generator)].flatten(0, 1) for _ in range(draws)]
    found = [value for each in drawn if (value := index(x, each)) is not None]
    return Chance(sum(found) / len(found), max(found)) if found else None


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    require_same_samples(x, y)
    x, y = x.double(), y.double()
    return x - x.mean(0), y - y.mean(0)


def _unbiased_hsic(x: Tensor, y: Tensor) -> float:
    """Without the n x n matrices: X^T 1 = 0, so a row of K without its diagonal adds up to -|x_i|^2."""
    n = len(x)
    lengths, others = x.square().sum(1), y.square().sum(1)
    trace = (x.T @ y).square().sum() - lengths @ others
    total = trace + lengths.sum() * others.sum() / ((n - 1) * (n - 2)) - 2 * (lengths @ others) / (n - 2)
    return float(total) / (n * (n - 3))


def _main(x: Tensor, kept: float) -> Tensor:
    """[n, k]: left singular vectors of the fewest directions that have this share of the variance.

    By way of the smaller Gram matrix: squares of singular values below `_NOISE` of the largest are rounding.
    """
    tall = len(x) > x.shape[1]
    squares, vectors = torch.linalg.eigh(x.T @ x if tall else x @ x.T)
    squares, vectors = squares.flip(0).clamp_min(0), vectors.flip(1)
    if not len(squares) or not float(squares[0]):
        return x[:, :0]
    shares = squares.cumsum(0) / squares.sum()
    enough = int((shares < kept - _NOISE).sum()) + 1
    count = min(enough, int((squares > _NOISE * squares[0]).sum()))
    return x @ (vectors[:, :count] / squares[:count].sqrt()) if tall else vectors[:, :count]
