"""Lineages without any data: random networks whose descendants move as fine-tuning would move them, but by chance.

A root is a random multilayer perceptron. A child moves in a direction that is partly its own and partly one of a few
that several children share, as tasks are shared. That is enough to learn and to test how
parents lie to siblings, children of siblings and grandparents; it says nothing of what networks compute.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .evidence import evidence
from .tangent import net, reading
from .training import Question

_INPUTS, _CLASSES = 6, 3
_PROBES = 8
_TASKS = 3
_SHARED = 0.6  # of the length of a step lies along its task


class _Step(NamedTuple):
    parent: str
    task: int
    size: float


_STEPS: Mapping[str, _Step] = {
    "a": _Step("root", 0, 0.15),
    "b": _Step("root", 1, 0.1),
    "c": _Step("root", 2, 0.2),
    "a1": _Step("a", 1, 0.1),
    "a2": _Step("a", 2, 0.2),
    "b1": _Step("b", 2, 0.15),
    "c1": _Step("c", 0, 0.1),
    "a11": _Step("a1", 2, 0.15),
}


def mlp(seed: int, width: int = 12, depth: int = 2) -> nn.Sequential:
    sizes = [_INPUTS, *[width] * depth, _CLASSES]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [part for rows, columns in pairwise(sizes) for part in (nn.Linear(rows, columns), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def tuned(network: nn.Module, seed: int, size: float = 0.1, like: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A copy with noise of this size in every number; `like` is another noise, of which a part is taken over."""
    draw = torch.Generator().manual_seed(seed)
    child = copy.deepcopy(network)
    with torch.no_grad():
        for name, value in child.named_parameters():
            own = torch.randn(value.shape, generator=draw)
            value.add_(own if like is None else (1 - _SHARED**2) ** 0.5 * own + _SHARED * like[name], alpha=size)
    return child


def lineages(seeds: Iterable[int], width: int = 12) -> list[Question]:
    """Every child of every family beside all members that do not come from it."""
    return [question for seed in seeds for question in _family(seed, width)]


def _family(seed: int, width: int) -> list[Question]:
    root = mlp(seed, width)
    draw = torch.Generator().manual_seed(seed)
    tasks = [
        {name: torch.randn(one.shape, generator=draw) for name, one in root.named_parameters()} for _ in range(_TASKS)
    ]
    sizes = torch.exp(0.5 * torch.randn(len(_STEPS), generator=draw)).tolist()
    members: dict[str, nn.Module] = {"root": root}
    for number, (name, step) in enumerate(_STEPS.items()):
        size = step.size * sizes[number]
        members[name] = tuned(members[step.parent], 100 * seed + number, size, tasks[step.task])
    says = reading(torch.randn(_PROBES, _INPUTS, generator=draw))
    nets = {name: net(each, says) for name, each in members.items()}
    found: list[Question] = []
    for child, step in _STEPS.items():
        candidates = [name for name in nets if child not in (name, *_line(name))]
        given = evidence(nets[child], {name: nets[name] for name in candidates})
        found.append(Question(given, candidates.index(step.parent)))
    return found


def _line(name: str) -> list[str]:
    """All from which it descends, nearest first."""
    return [] if name == "root" else [_STEPS[name].parent, *_line(_STEPS[name].parent)]
