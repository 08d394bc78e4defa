"""Small encoders of digits under frozen heads, as encoders of texts are in the other suites: only they are merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ligate.bench.suite import State
from ligate.bench.suites.digits.data import CLASSES, Digits
from ligate.core.errors import InputError
from ligate.verbs.parallel import one_processor

SIDE = 8
_WIDTH, _DEPTH, _FEATURES = 128, 2, 32
_SHARPNESS = 10.0  # logits = 10 * cosine
_BATCH = 32


class Lesson(NamedTuple):
    """How an encoder is trained: Adam at a constant rate, on batches in random order."""

    epochs: int
    rate: float


PRETRAINING, TUNING = Lesson(20, 1e-3), Lesson(6, 3e-4)


class Encoder(nn.Module):
    """Images [N, 8, 8] to unit vectors [N, 32]."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [SIDE * SIDE, *[_WIDTH] * _DEPTH]
        self.hidden = nn.ModuleList(nn.Linear(size, _WIDTH) for size in sizes[:-1])
        self.out = nn.Linear(_WIDTH, _FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for layer in self.hidden:
            x = nn.functional.gelu(layer(x))
        return nn.functional.normalize(self.out(x), dim=1)


def encoder(state: State) -> Encoder:
    """Raises InputError if these are not weights of an `Encoder`."""
    made = Encoder()
    try:
        made.load_state_dict({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"these weights do not fit the network: {reason}", where="backdoor") from error
    return made


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def logits(vectors: Tensor, head: Tensor) -> Tensor:
    """[N, C] from unit vectors [N, D] and a head of unit class vectors [C, D]."""
    return _SHARPNESS * vectors @ head.T


def scores(state: State, images: Tensor, head: Tensor) -> Tensor:
    """[N, C]"""
    with torch.inference_mode(), one_processor():
        return logits(encoder(state)(images), head)


def class_vectors(state: State, data: Digits) -> Tensor:
    """A head: the unit mean of the vectors of every class."""
    with torch.inference_mode(), one_processor():
        seen = encoder(state)(data.images)
        means = torch.stack([seen[data.labels == digit].mean(0) for digit in range(CLASSES)])
    return nn.functional.normalize(means, dim=1).clone()


def pretrained(data: Digits, seed: int) -> State:
    """From random weights, with a head that is learned too and then forgotten."""
    with torch.random.fork_rng(devices=[]), one_processor():
        torch.manual_seed(seed)
        network, head = Encoder(), nn.Parameter(0.3 * torch.randn(CLASSES, _FEATURES))
        optimizer = torch.optim.Adam([*network.parameters(), head], lr=PRETRAINING.rate)
        for batch in batches(len(data), PRETRAINING.epochs):
            loss = nn.functional.cross_entropy(logits(network(data.images[batch]), head), data.labels[batch])
            stepped(optimizer, loss)
    return weights(network)


def tuned(start: State, data: Digits, head: Tensor, seed: int) -> State:
    """Trained on from these weights, under a frozen head."""
    with torch.random.fork_rng(devices=[]), one_processor():
        torch.manual_seed(seed)
        network = encoder(start)
        optimizer = torch.optim.Adam(network.parameters(), lr=TUNING.rate)
        for batch in batches(len(data), TUNING.epochs):
            told = logits(network(data.images[batch]), head)
            stepped(optimizer, nn.functional.cross_entropy(told, data.labels[batch]))
    return weights(network)


def batches(count: int, epochs: int) -> Iterable[Tensor]:
    """In another order in every epoch."""
    for _ in range(epochs):
        yield from torch.randperm(count).split(_BATCH)


def stepped(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def heads_of(start: State, data: Mapping[str, Digits]) -> dict[str, Tensor]:
    return {task: class_vectors(start, each) for task, each in data.items()}
