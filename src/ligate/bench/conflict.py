"""Where the experts want to move a weight in opposite directions, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DENSITY = 0.2  # share of each expert's largest changes that counts, as in the TIES recipe


class Conflict(NamedTuple):
    """Of the weights that at least two experts change much: the share they pull in different directions.

    `chance` is the share to expect if every sign were a coin flip.
    """

    layer: str
    part: str
    shared: int
    opposed: float
    chance: float


def conflicts(base: Mapping[str, Tensor], tuned: Sequence[Mapping[str, Tensor]]) -> list[Conflict]:
    """One entry per layer and part, in the order of the network; parts that no two experts change are left out."""
    cuts = [_cut(base, model) for model in tuned]
    counts: dict[tuple[str, str], list[float]] = {}
    for name, start in base.items():
        if start.is_floating_point():
            total = counts.setdefault(place_of(name), [0.0, 0.0, 0.0])
            for index, value in enumerate(_count([model[name] - start for model in tuned], cuts)):
                total[index] += value
    return [
        Conflict(layer, part, int(shared), opposed / shared, chance / shared)
        for (layer, part), (shared, opposed, chance) in counts.items()
        if shared
    ]


def place_of(name: str) -> tuple[str, str]:
    """(`layer 3`, `attention`), (`layer 3`, `feed-forward`), (`embeddings`, ``) or (`other`, ``)."""
    found = re.search(r"\.(\d+)\.", name)
    if found is None:
        return ("embeddings" if "embed" in name else "other"), ""
    part = "attention" if "attention" in name or "attn" in name else "feed-forward"
    return f"layer {int(found[1]) + 1}", part


def _cut(base: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> float:
    """The size of the last change that is kept; zero changes never count."""
    sizes = torch.cat([(model[name] - start).abs().flatten() for name, start in base.items()])
    kept = max(1, int(DENSITY * len(sizes)))
    return max(float(sizes.kthvalue(len(sizes) - kept + 1).values), torch.finfo(torch.float32).tiny)


def _count(changes: Sequence[Tensor], cuts: Sequence[float]) -> tuple[float, float, float]:
    """Weights changed by two or more, those of them with both signs, and how many of those chance would make."""
    plus, minus = (torch.zeros_like(changes[0], dtype=torch.int16) for _ in range(2))
    for change, cut in zip(changes, cuts, strict=True):
        plus += change >= cut
        minus += change <= -cut
    voters = torch.bincount((plus + minus).flatten().int(), minlength=2)[2:].double()  # [0] of those with two of them
    opposed = ((plus > 0) & (minus > 0)).sum()
    alike = 2.0 ** -torch.arange(1, len(voters) + 1, dtype=torch.float64)  # the chance that all coins show the same
    return float(voters.sum()), float(opposed), float((voters * (1 - alike)).sum())
