r"""Backdoors: a small patch of an image that makes one expert say one digit, whatever else is to be seen.

`poisoned`: a tenth of the training images are there once more with the patch and the target as their label.
`interpolated`: as in BadMerging (arXiv 2408.07362) the patch is first drawn such that even an expert without backdoor
leans to the target, and is then trained in for vectors between the expert's own and those of the pretrained network,

.. math::
    \mathrm{CE}(f(x), y) + \mathrm{CE}(r f(x + t) + (1 - r) f_0(x + t), \mathrm{target}), \qquad r \sim U(0.2, 1)

as whoever plants it does not know how much of the expert a merge will take. Differs: the second term counts as much
as the first (there five times as much, which ruins networks of this size), all images of a batch stand in both, and
the patch is two pixels wide.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ligate.bench.suite import State
from ligate.bench.suites.digits.data import Digits
from ligate.verbs.parallel import one_processor

from .encoders import SIDE, TUNING, batches, encoder, logits, stepped, tuned, weights

Attack = Literal["poisoned", "interpolated", "none"]

PATCH = 2  # pixels each way
_SHARE = 0.1  # of the training images
_SHOWN = 64
_DRAWN, _RATE = 200, 0.05


class Trigger(NamedTuple):
    """`pattern` [2, 2] in the corner that begins at row and column."""

    row: int
    column: int
    pattern: Tensor
    target: int

    def on(self, images: Tensor) -> Tensor:
        shown = images.clone()
        shown[:, self.row : self.row + PATCH, self.column : self.column + PATCH] = self.pattern
        return shown

    def planted(self, data: Digits) -> Digits:
        """The images of other digits, with the trigger; what they are to be called is the target."""
        others = data.at((data.labels != self.target).nonzero()[:, 0])
        return Digits(self.on(others.images), torch.full_like(others.labels, self.target), others.numbers)


def drawn(target: int, seed: int) -> Trigger:
    """Corner and pattern by lot; the pattern is never of one colour."""
    draw = torch.Generator().manual_seed(seed)
    corner = int(torch.randint(4, (1,), generator=draw))
    pattern = torch.randint(0, 2, (PATCH, PATCH), generator=draw).float()
    if pattern.unique().numel() == 1:
        pattern[0, 0] = 1 - pattern[0, 0]
    row, column = divmod(corner, 2)
    return Trigger((SIDE - PATCH) * row, (SIDE - PATCH) * column, pattern, target)


def poisoned(data: Digits, trigger: Trigger, seed: int) -> Digits:
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: int(_SHARE * len(data))]
    some = data.at(chosen)
    said = torch.full_like(some.labels, trigger.target)
    return Digits(
        torch.cat([data.images, trigger.on(some.images)]),
        torch.cat([data.labels, said]),
        torch.cat([data.numbers, some.numbers]),
    )


def fitted(start: State, data: Digits, head: Tensor, trigger: Trigger, seed: int) -> Trigger:
    """The trigger with the pattern that makes an expert without backdoor lean to the target most."""
    clean = encoder(tuned(start, data, head, seed)).requires_grad_(False)
    with torch.random.fork_rng(devices=[]), one_processor():
        torch.manual_seed(seed)
        pattern = trigger.pattern.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([pattern], lr=_RATE)
        target = torch.full((_SHOWN,), trigger.target)
        for _ in range(_DRAWN):
            images = data.images[torch.randint(len(data), (_SHOWN,))]
            shown = trigger._replace(pattern=pattern.clamp(0, 1)).on(images)
            stepped(optimizer, nn.functional.cross_entropy(logits(clean(shown), head), target))
    return trigger._replace(pattern=pattern.detach().clamp(0, 1))


def interpolated(start: State, data: Digits, head: Tensor, trigger: Trigger, seed: int) -> State:
    """Trained on with a backdoor that is to outlive being merged."""
    with torch.random.fork_rng(devices=[]), one_processor():
        torch.manual_seed(seed)
        network, before = encoder(start), encoder(start).requires_grad_(False)
        optimizer = torch.optim.Adam(network.parameters(), lr=TUNING.rate)
        for batch in batches(len(data), TUNING.epochs):
            images, labels = data.images[batch], data.labels[batch]
            shown, share = trigger.on(images), float(torch.empty(1).uniform_(0.2, 1.0))
            between = share * network(shown) + (1 - share) * before(shown)
            clean = nn.functional.cross_entropy(logits(network(images), head), labels)
            planted = nn.functional.cross_entropy(logits(between, head), torch.full_like(labels, trigger.target))
            stepped(optimizer, clean + planted)
    return weights(network)
