"""How alike what two networks say is: measures that the step of fine-tuning can be put into, so all are differentiable.

X [N, ...] and Y [N, ...] are what two networks say of the same N inputs; whatever an input is told with is one row.

    l2      - mean (x - y)^2                                          at most 0
    l1      - mean |x - y|                                            at most 0
    cosine  mean over inputs of x.y / (|x| |y|)                       -1 to 1
    cka     |X'^T Y'|_F^2 / (|X'^T X'|_F |Y'^T Y'|_F), X' = X - mean    0 to 1; widths may differ

Greater is always more alike. CKA is arXiv 1905.00414, equation 4, from the inner products of inputs, of which there are
few. Only CKA stays when the units of one network change their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest

if TYPE_CHECKING:
    from torch import Tensor

SimilarityName = Literal["l2", "l1", "cosine", "cka"]

_TINY = 1e-30


class Similarity(NamedTuple):
    """Args:
    of: (X, Y) -> a number.
    best: of two networks that say the same.
    any_width: X and Y may have different numbers of units.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    best: float
    any_width: bool = False


def l2(x: Tensor, y: Tensor) -> Tensor:
    return -(x - y).square().mean()


def l1(x: Tensor, y: Tensor) -> Tensor:
    return -(x - y).abs().mean()


def cosine(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.flatten(1), y.flatten(1)
    return ((x * y).sum(1) / (x.square().sum(1) * y.square().sum(1) + _TINY).sqrt()).mean()


def cka(x: Tensor, y: Tensor) -> Tensor:
    """0 where a network says the same of all inputs."""
    own, other = _products(x), _products(y)
    return (own * other).sum() / (own.square().sum() * other.square().sum() + _TINY).sqrt()


SIMILARITIES: Mapping[str, Similarity] = {
    "l2": Similarity(l2, 0.0),
    "l1": Similarity(l1, 0.0),
    "cosine": Similarity(cosine, 1.0),
    "cka": Similarity(cka, 1.0, any_width=True),
}


def similarity(name: str) -> Similarity:
    """Raises RecipeError where there is none of this name."""
    if name not in SIMILARITIES:
        raise RecipeError(f"there is no similarity '{name}'", where="trace", hint=nearest(name, SIMILARITIES))
    return SIMILARITIES[name]


def _products(x: Tensor) -> Tensor:
    """[N, N] inner products of inputs, the mean taken off."""
    rows = x.flatten(1)
    rows = rows - rows.mean(0)
    return torch.mm(rows, rows.T)
