"""What a detector is shown of a child and its candidates, whatever their architecture: numbers without units or names.

For each candidate P one token for every tensor and one for the features. A token has

    elements   some numbers of the pair side by side, in units of the child's root mean square, evenly chosen:
               (theta_P, theta_C) of a tensor; (f_P, f_C, f_P + J_P d) of the features
    facts      what numbers side by side do not show: sizes of differences, angles, ranks

and for each two candidates P, Q, whatever lies between them and the child, in weights and in features:

    angle      cosine of C - P with Q - P: near 0 if P is where C begins and Q has gone elsewhere; positive if P is a
               sibling or an ancestor of the true parent, because the way from P leads past Q
    distance   log |P - Q| / |C - P|
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.core.errors import InputError

from .ranking import explained
from .similarity import cka, cosine
from .tangent import Net, State, Tangent, features_of, shared, tangent

ELEMENTS = 48  # of a token
FACTS = 10
BETWEEN = 4
_TINY = 1e-12
_FARTHEST = 8.0  # logarithms are cut there


class Evidence(NamedTuple):
    """Of n candidates with T tensors in common with the child.

    Args:
        weights: [n, T, ELEMENTS, 2]; weight_facts: [n, T, FACTS].
        features: [n, ELEMENTS, 3]; feature_facts: [n, FACTS].
        between: [n, n, BETWEEN] at the first candidate, towards the second.
    """

    names: tuple[str, ...]
    weights: Tensor
    weight_facts: Tensor
    features: Tensor
    feature_facts: Tensor
    between: Tensor

    def of(self, chosen: Sequence[int]) -> Evidence:
        """Of some of the candidates."""
        at = torch.tensor(list(chosen))
        return Evidence(
            tuple(self.names[one] for one in chosen),
            self.weights[at],
            self.weight_facts[at],
            self.features[at],
            self.feature_facts[at],
            self.between[at][:, at],
        )


def evidence(child: Net, parents: Mapping[str, Net]) -> Evidence:
    """One forward derivative for each candidate.

    Raises:
        InputError: there are no candidates, or one has other shapes than the child.
    """
    if not parents:
        raise InputError("there is nobody that it could come from", where="trace", hint="give at least one candidate.")
    said = features_of(child)
    tangents = [tangent(each, child.state) for each in parents.values()]
    return evidence_of(child.state, {name: each.state for name, each in parents.items()}, said, tangents)


def evidence_of(child: State, parents: Mapping[str, State], said: Tensor, tangents: Sequence[Tangent]) -> Evidence:
    """As `evidence`, of networks that were asked before."""
    names = _tensors(child, parents, said, tangents)
    tokens = [_tensor_token(torch.stack([each[name] for each in parents.values()]), child[name]) for name in names]
    told = [_feature_token(each, said) for each in tangents]
    away = torch.stack(
        [torch.cat([(each[name] - child[name]).flatten() for name in names]) for each in parents.values()]
    )
    spoken = torch.stack([(each.features - said).flatten() for each in tangents])
    return Evidence(
        tuple(parents),
        torch.stack([elements for elements, _ in tokens], 1),
        torch.stack([facts for _, facts in tokens], 1),
        torch.stack([elements for elements, _ in told]),
        torch.stack([facts for _, facts in told]),
        torch.cat([between(away), between(spoken)], 2),
    )


def between(away: Tensor) -> Tensor:
    """[n, n, 2] angle and distance at P towards Q, from [n, D] candidates seen from the child."""
    products = (away @ away.T).double()
    lengths = products.diagonal()
    apart = (lengths[:, None] + lengths[None, :] - 2 * products).clamp_min(0)
    # at P: (C - P).(Q - P) = |P|^2 - P.Q, seen from C
    cosines = (lengths[:, None] - products) / (lengths[:, None] * apart + _TINY).sqrt()
    ratios = 0.5 * ((apart + _TINY) / (lengths[:, None] + _TINY)).log()
    found = torch.stack([cosines.clamp(-1, 1), ratios.clamp(-_FARTHEST, _FARTHEST)], 2)
    return found * (1 - torch.eye(len(away), dtype=torch.float64))[..., None]


def _tensors(child: State, parents: Mapping[str, State], said: Tensor, tangents: Sequence[Tangent]) -> list[str]:
    """Those of the child that every candidate has in its shape; at least half of its numbers."""
    names = list(child)
    for name, parent in parents.items():
        names = [each for each in names if each in shared(child, parent)]
        if 2 * sum(child[each].numel() for each in names) < sum(each.numel() for each in child.values()):
            raise InputError("has other shapes than the child", where=name, hint="leave it out of the candidates.")
    for name, each in zip(parents, tangents, strict=True):
        if each.features.shape != said.shape:
            raise InputError("has features of another shape than the child", where=name, hint="leave it out.")
    return names


def _tensor_token(parents: Tensor, child: Tensor) -> tuple[Tensor, Tensor]:
    """[n, ELEMENTS, 2] and [n, FACTS] of a tensor of n candidates [n, *S] and the child's [*S]."""
    flat, own = parents.float().flatten(1), child.float().flatten()
    step, scale = own - flat, _rms(own)
    facts = (
        _logs(_roots(step) / scale),
        _logs(_roots(flat) / scale),
        _cosines(step, flat),
        _logs(_tails(step)),
        _tails(own[None]) - _tails(flat),
        _share_of_first(step.reshape(parents.shape)),
        (step == 0).float().mean(1),
        torch.full((len(flat),), math.log(own.numel()) / 10),
        torch.full((len(flat),), float(child.ndim > 1)),
        _logs(step.abs().amax(1) / scale),
    )
    elements = torch.stack([_some(flat), _some(own[None]).expand(len(flat), -1)], 2) / scale
    return elements.clamp(-_FARTHEST, _FARTHEST), torch.stack(facts, 1)


def _feature_token(at: Tangent, said: Tensor) -> tuple[Tensor, Tensor]:
    moved, scale = at.features + at.change, _rms(said)
    facts = (
        _log(_rms(said - at.features) / scale),
        _log(_rms(said - moved) / scale),
        _log(_rms(at.change) / scale),
        max(-_FARTHEST, explained(at, said)),
        _cosine(said - at.features, at.change),
        float(cosine(at.features, said)),
        float(cosine(moved, said)),
        float(cka(at.features, said)),
        float(cka(moved, said)),
        _log(_rms(at.features) / scale),
    )
    elements = torch.stack([_some(each.reshape(1, -1))[0] for each in (at.features, said, moved)], 1) / scale
    return elements.clamp(-_FARTHEST, _FARTHEST), torch.tensor(facts)


def _some(rows: Tensor) -> Tensor:
    """[n, ELEMENTS] of each row, evenly chosen, or all of them again and again."""
    size = rows.shape[1]
    places = torch.arange(ELEMENTS)
    return rows[:, places * size // ELEMENTS if size > ELEMENTS else places % size]


def _share_of_first(steps: Tensor) -> Tensor:
    """[n] share of the first singular value in the squares of a matrix: near 1 for rank one; 0 for vectors, nothing."""
    if steps.ndim < 3:
        return torch.zeros(len(steps))
    rows = steps.flatten(2)
    rows = rows if rows.shape[1] <= rows.shape[2] else rows.mT
    whole = rows.square().sum((1, 2))
    return torch.linalg.eigvalsh(rows @ rows.mT)[:, -1] / whole.clamp_min(_TINY)


def _tails(rows: Tensor) -> Tensor:
    """[n] fourth moment over the square of the second, 3 for normal numbers, at most 20."""
    second = rows.square().mean(1)
    tails = rows.pow(4).mean(1) / second.square().clamp_min(_TINY**2)
    return torch.where(second > _TINY, tails.clamp_max(20.0), 3.0)


def _roots(rows: Tensor) -> Tensor:
    return rows.square().mean(1).sqrt()


def _rms(values: Tensor) -> float:
    return max(float(values.square().mean().sqrt()), _TINY)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(1) / ((one.square().sum(1) * other.square().sum(1)).sqrt() + _TINY)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(_cosines(one.reshape(1, -1), other.reshape(1, -1)))


def _logs(values: Tensor) -> Tensor:
    return values.clamp_min(_TINY).log().clamp(-_FARTHEST, _FARTHEST)


def _log(value: float) -> float:
    return max(-_FARTHEST, min(_FARTHEST, math.log(max(value, _TINY))))
