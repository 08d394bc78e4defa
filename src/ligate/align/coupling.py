"""How the units of one layer correspond to those of another, of perhaps another width: couplings by optimal transport.

A coupling T [units of B, units of A] moves the masses of B's units to those of A's at the least cost C:

    min over T >= 0 of  sum over i, j of T[i, j] (C[i, j] + reg log T[i, j]),    T 1 = masses of B,  T^T 1 = masses of A

arXiv 1306.0895 for reg > 0 (Sinkhorn); reg = 0 is solved as a linear program. Both by POT.

Between equal numbers of equal masses the exact solution is a permutation.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import torch

from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Solver = Literal["exact", "sinkhorn", "undivided"]
"""`undivided`: each unit of the wider side belongs to one of the narrower side, all of which have equally many, or one
more; masses do not count. Widening so keeps the function, exactly."""

Metric = Literal["euclidean", "squared", "correlation"]
"""Of two units, each a row of numbers: their distance, its square, 1 - their correlation."""

Masses = Literal["uniform", "importance"]
"""`importance`: the norm of a unit's row."""

_LEAST_MASS = 1e-3  # of the mean: a unit that is all zeros has to be some mixture, too
_OFF = 1e-2  # how far, as a share of a mass, Sinkhorn's marginals may be off before the coupling is refused
_ROUNDS = 10_000
_WHOLE = 1 - 1e-6  # of a unit: rounding


def distances(b: Tensor, a: Tensor, metric: Metric) -> Tensor:
    """[units of B, units of A] from [units, numbers] of each.

    >>> distances(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]), "euclidean").tolist()
    [[5.0]]
    """
    if metric == "correlation":
        return 1 - _standard(b) @ _standard(a).T
    squares = b.square().sum(1)[:, None] + a.square().sum(1) - 2 * b @ a.T
    squares = squares.clamp_min(0)  # rounding
    return squares if metric == "squared" else squares.sqrt()


def masses(rows: Tensor, how: Masses) -> Tensor:
    """[units], with the sum 1."""
    if how == "uniform":
        return rows.new_full((len(rows),), 1 / len(rows))
    norms = rows.norm(dim=1)
    floored = norms.clamp_min(_LEAST_MASS * float(norms.mean()) or 1)
    return floored / floored.sum()


def coupled(cost: Tensor, mass_b: Tensor, mass_a: Tensor, solver: Solver, entropy: float) -> Tensor:
    """The coupling, [units of B, units of A], with the sum 1.

    Args:
        entropy: reg of the equation as a share of the largest cost; only of `sinkhorn`.

    Raises:
        InputError: POT or scipy are missing, or Sinkhorn's algorithm does not converge.
    """
    if solver == "undivided":
        return undivided(cost)
    ot = _pot()
    numbers = [each.numpy(force=True) for each in (mass_b, mass_a, cost / (float(cost.max()) or 1))]
    if solver == "exact":
        return torch.from_numpy(ot.emd(*numbers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slow convergence: checked below
        found = torch.from_numpy(ot.sinkhorn(*numbers, entropy, method="sinkhorn_log", numItermax=_ROUNDS))
    off = max(float((found.sum(dim) / mass - 1).abs().max()) for dim, mass in ((1, mass_b), (0, mass_a)))
    if not off < _OFF:
        raise InputError(
            f"Sinkhorn's algorithm is still {off:.1%} off after {_ROUNDS} rounds",
            where=f"a coupling of {len(cost)} with {cost.shape[1]} units, entropy {entropy:g}",
            hint="a larger entropy converges sooner; the exact solver needs none.",
        )
    return found


def undivided(cost: Tensor) -> Tensor:
    """The cheapest way to share out the units of the wider side among those of the narrower one, as evenly as it goes.

    A linear assignment: each unit of the narrower side has so many places that must be taken and one more that may be.
    """
    if cost.shape[0] > cost.shape[1]:
        return undivided(cost.T).T
    narrow, wide = cost.shape
    least = wide // narrow
    must = -wide * (float(cost.max()) or 1)  # as cheap as any number of other places together
    places = torch.cat([(cost.T + must).repeat(1, least), cost.T], 1)
    coupling = torch.zeros_like(cost)
    coupling[_assigned(places) % narrow, torch.arange(wide)] = 1 / wide
    return coupling


def order(coupling: Tensor) -> Tensor | None:
    """[units of A]: which unit of B each is, where the coupling (or that of every copy) is a permutation; else None."""
    share = coupling / coupling.sum(-2, keepdim=True)
    chosen = share.argmax(-2)
    square = share.shape[-2] == share.shape[-1]
    whole = bool((share.amax(-2) > _WHOLE).all())
    once = bool((chosen.sort(-1).values == torch.arange(share.shape[-1])).all()) if square else False
    return chosen if whole and once else None


def _standard(rows: Tensor) -> Tensor:
    """Mean 0 and norm 1; rows that are constant become zeros."""
    centred = rows - rows.mean(1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


def _assigned(cost: Tensor) -> Tensor:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise _missing("scipy") from error
    return torch.from_numpy(linear_sum_assignment(cost.numpy(force=True))[1])


def _pot() -> Any:
    try:
        import ot
    except ImportError as error:
        raise _missing("POT (Python Optimal Transport)") from error
    return ot


def _missing(library: str) -> InputError:
    return InputError(
        f"{library} solves this, and it is not installed here",
        where="optimal transport",
        hint="pip install 'ligate[align]'",
    )
