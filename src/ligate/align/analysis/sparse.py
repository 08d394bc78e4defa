"""How many units of one network it takes to say what a unit of the other does: a lasso along a path of strengths.

"Convergent Learning", arXiv 1511.07543, section 3.3. For every unit y of b, from all units Z of a (both standardised),

    min over w   1/(2 n) |y - Z w|^2 + strength |w|_1

Correlations are what a strength is compared with: at or above the largest |c_ij| of a unit nothing is used for it, at 0
it is least squares. Solved from Z^T Z / n and Z^T y / n for all units of b side by side, by proximal gradient steps
with momentum ("A Fast Iterative Shrinkage-Thresholding Algorithm", Beck and Teboulle, SIAM J. Imaging Sciences 2009),
begun anew where it points uphill ("Adaptive Restart for Accelerated Gradient Schemes", arXiv 1204.3982): units of
trained networks resemble each other, and coordinates one by one took ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.analysis.correlation import Standard, require_same_samples
from ligate.core.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

STRENGTHS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
HELD = 0.2
_STEPS, _LOOK, _LEAST = 5000, 10, 1e-5


class Prediction(NamedTuple):
    """What one strength brings, on average over the units that are predicted.

    Args:
        error: |y - Z w|^2 / |y|^2 on samples that were held back: 0 is perfect, 1 what predicting the mean does.
        fitted: the same on the samples it was fitted on.
        used: units of a with a weight that is not zero.
        settled: whether the conditions of the minimum hold to 1e-5 of a correlation, or the limit of steps was met.
    """

    strength: float
    error: float
    fitted: float
    used: float
    settled: bool


def sparse_prediction(
    a: Standard, b: Standard, strengths: Sequence[float] = STRENGTHS, *, held: float = HELD, most: int = 64
) -> list[Prediction]:
    """Predict units of b from all units of a.

    Args:
        strengths: penalties, tried from the largest to the smallest.
        held: share of the samples, the last ones, that is only predicted. Neighbours in an image or a text resemble
            each other: a share from their midst would be known already.
        most: so many units of b are predicted, evenly chosen; all of a are used.

    Raises:
        RecipeError: a negative strength, or no sample left on one side of the cut.
        InputError: the networks were not given the same samples.
    """
    require_same_samples(a.values, b.values)
    cut = len(a.values) - round(held * len(a.values))
    if not 0 < cut < len(a.values) or min(strengths, default=-1.0) < 0:
        text = f"strengths {list(strengths)} with {cut} of {len(a.values)} samples to fit on"
        raise RecipeError(text, hint="strengths are 0 or more; `held` leaves samples on both sides.")
    chosen = torch.linspace(0, b.values.shape[1] - 1, min(most, b.values.shape[1])).round().long()
    if not len(chosen) or not a.values.shape[1]:
        return []
    return list(_path(a.values, b.values[:, chosen], sorted(strengths, reverse=True), cut))


def lasso(square: Tensor, products: Tensor, strength: float, start: Tensor | None = None) -> tuple[Tensor, bool]:
    """The weights, and whether they settled, from square = Z^T Z / n [p, p] and products = Z^T Y / n [p, q].

    >>> lasso(torch.eye(2), torch.tensor([[0.7], [0.2]]), 0.5)[0].flatten()
    tensor([0.2000, 0.0000])
    """
    weights = torch.zeros_like(products) if start is None else start
    steepest = max(float(torch.linalg.eigvalsh(square.double())[-1]), 1e-12)
    ahead, pace = weights, torch.ones_like(products[:1])
    for step in range(1, _STEPS + 1):
        new = torch.nn.functional.softshrink(ahead + (products - square @ ahead) / steepest, strength / steepest)
        if step % _LOOK == 0 and float((ahead - new).abs().max()) * steepest < _LEAST:
            return new, True
        uphill = ((ahead - new) * (new - weights)).sum(0, keepdim=True) > 0
        faster = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        ahead = new + torch.where(uphill, 0.0, (pace - 1) / faster) * (new - weights)
        weights, pace = new, torch.where(uphill, 1.0, faster)
    return weights, False


def _path(z: Tensor, y: Tensor, strengths: Sequence[float], cut: int) -> list[Prediction]:
    square, products = z[:cut].T @ z[:cut] / cut, z[:cut].T @ y[:cut] / cut
    weights, found = None, list[Prediction]()
    for strength in strengths:
        weights, settled = lasso(square, products, strength, weights)
        error, fitted = (_error(z[part], y[part], weights) for part in (slice(cut, None), slice(cut)))
        found.append(Prediction(strength, error, fitted, float((weights != 0).double().sum(0).mean()), settled))
    return found


def _error(z: Tensor, y: Tensor, weights: Tensor) -> float:
    """Over all units together: one that says almost the same on all of these samples would rule an average."""
    return float((y - z @ weights).square().sum() / y.square().sum().clamp_min(1e-300))
