"""The best member of a symmetry for given scores, in closed form.

With S[i, j] the inner product of unit i of A with unit j of B over all that is known of them, a map M of B's units is
worth sum M * S. The best M is

    permutation     the linear assignment on S, exactly
    signed          the linear assignment on |S|, with the signs of S
    orthogonal      U V^T of the singular value decomposition of S (Procrustes)
    centred         the same in the complement of the vector of ones, which stays
    rotary          for each pair (j, j + n) the angle atan2(S[j+n, j] - S[j, j+n], S[j, j] + S[j+n, j+n])

`invertible` is solved among rotations too: a map that stretches can make any product as large as it likes (the networks
are balanced beforehand).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .maps import Kind
from .members import pairs_turned

if TYPE_CHECKING:
    from torch import Tensor


def best(scores: Tensor, kind: Kind) -> Tensor:
    """An order [n] or a matrix [n, n] for scores [n, n]; with copies in front for copies in front."""
    if scores.ndim == 3:
        return torch.stack([best(each, kind) for each in scores])
    if kind == "permutation":
        return assignment(scores)
    if kind == "signed":
        order = assignment(scores.abs())
        signs = scores[torch.arange(len(order)), order].sign()
        return torch.zeros_like(scores).scatter_(1, order[:, None], torch.where(signs == 0, 1.0, signs)[:, None])
    if kind == "rotary":
        return pairs_turned(_angles(scores), torch.ones(len(scores) // 2, dtype=scores.dtype))
    left, _, right = torch.linalg.svd(_without_mean(scores, keep=True) if kind == "centred" else scores)
    return left @ right


def worth(scores: Tensor, move: Tensor) -> Tensor:
    """The sum of move * scores, for each copy."""
    if move.is_floating_point():
        return (move * scores).sum((-2, -1))
    return scores.gather(-1, move[..., None]).sum((-2, -1))


def most(scores: Tensor, kind: Kind) -> Tensor:
    """What the best member is worth; [...] for scores [..., n, n]."""
    if kind in ("orthogonal", "invertible"):
        return torch.linalg.svdvals(scores).sum(-1)
    if kind == "centred":
        return torch.linalg.svdvals(_without_mean(scores)).sum(-1)
    if kind == "rotary":
        half = scores.shape[-1] // 2
        d = scores.diagonal(0, -2, -1)
        s = scores.diagonal(-half, -2, -1) - scores.diagonal(half, -2, -1)
        return torch.hypot(d[..., :half] + d[..., half:], s).sum(-1)
    flat = scores.reshape(-1, *scores.shape[-2:])
    return torch.stack([worth(each, best(each, kind)) for each in flat]).reshape(scores.shape[:-2])


def assignment(scores: Tensor) -> Tensor:
    """The permutation p that maximises the sum of scores[i, p[i]], exactly.

    >>> assignment(torch.tensor([[4.0, 2.0, 2.0], [7.0, 2.0, 5.0], [11.0, 4.0, 7.0]])).tolist()
    [1, 2, 0]
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(scores.numpy(force=True), maximize=True)
    return torch.from_numpy(columns)


def _without_mean(scores: Tensor, keep: bool = False) -> Tensor:
    """Rows and columns less their means; with `keep`, the vector of ones is worth more than all else."""
    rows = scores - scores.mean(-1, keepdim=True)
    found = rows - rows.mean(-2, keepdim=True)
    return found + (scores.abs().sum() + 1) / scores.shape[-1] if keep else found


def _angles(scores: Tensor) -> Tensor:
    half = len(scores) // 2
    d = scores.diagonal()
    return torch.atan2(scores.diagonal(-half) - scores.diagonal(half), d[:half] + d[half:])
