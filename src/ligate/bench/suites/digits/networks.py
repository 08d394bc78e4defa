"""Small networks for digits, trained once: an MLP, a convolutional network, a vision transformer, in plain torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ligate.bench.kept import code_digest, digest_of, settle, stamp
from ligate.bench.suite import State, Trained
from ligate.bench.suites.digits.data import CLASSES, Digits, digest
from ligate.bench.weights import write_weights
from ligate.core.errors import InputError
from ligate.verbs.parallel import one_processor

Kind = Literal["mlp", "cnn", "vit"]

_SIDE = 8
_BATCH = 32
_CODE = ("suites/digits/data.py", "suites/digits/networks.py")


class Architecture(NamedTuple):
    """`width` units (channels, features) in each of `depth` hidden layers (convolutions, blocks)."""

    kind: Kind
    width: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.width}x{self.depth}"

    def build(self) -> nn.Module:
        return _BUILDERS[self.kind](self.width, self.depth)


class Lesson(NamedTuple):
    """How a network is trained: Adam, on batches in random order, at a constant rate or one that falls to nothing."""

    epochs: int
    rate: float
    falls: bool = False


class Mlp(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [_SIDE * _SIDE, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Linear(size, width) for size in sizes[:-1])
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


class Cnn(nn.Module):
    """Convolutions of 3 x 3; halved after the first; the mean over all places is classified."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [1, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Conv2d(size, width, 3, padding=1) for size in sizes[:-1])
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = images[:, None]
        for number, layer in enumerate(self.hidden):
            x = layer(x).relu()
            x = nn.functional.max_pool2d(x, 2) if number == 0 else x
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """Attention, then an MLP of twice the width, each behind a layer norm and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before_attention(x)
        query, key, value = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.before_mlp(x))))


class Vit(nn.Module):
    """Sixteen patches of 2 x 2 pixels with learned places; the mean over the patches is classified."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.places = nn.Parameter(0.1 * torch.randn(_SIDE * _SIDE // 4, width))
        self.blocks = nn.ModuleList(Block(width, heads=4) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).flatten(1, 2)
        x = self.patch(patches) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


_BUILDERS: Mapping[Kind, Callable[[int, int], nn.Module]] = {"mlp": Mlp, "cnn": Cnn, "vit": Vit}


def train(architecture: Architecture, start: State | None, data: Digits, lesson: Lesson, seed: int) -> State:
    """Weights after training, from `start` or, where there is none, from a random initialisation by the seed."""
    with torch.random.fork_rng(devices=[]), one_processor():
        torch.manual_seed(seed)
        network = architecture.build()
        if start is not None:
            network.load_state_dict(dict(start))
        optimizer = torch.optim.Adam(network.parameters(), lr=lesson.rate, fused=True)
        steps = lesson.epochs * -(-len(data) // _BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps if lesson.falls else 1)
        for _ in range(lesson.epochs):
            for batch in torch.randperm(len(data)).split(_BATCH):
                loss = nn.functional.cross_entropy(network(data.images[batch]), data.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return {name: value.detach() for name, value in network.state_dict().items()}


def logits(architecture: Architecture, state: State, images: Tensor) -> Tensor:
    """[N, 10]. Raises InputError if these are not weights of this architecture."""
    with torch.device("meta"):
        network = architecture.build()
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"these weights do not fit the network: {reason}", where=architecture.name) from error
    with torch.inference_mode(), one_processor():
        return network(images)


def training_key(*decides: object) -> str:
    """Of a network: whatever decides its weights besides the data set, the code of the training and torch."""
    return digest_of([digest(), code_digest(_CODE), torch.__version__, *map(repr, decides)])


def seed_of(*parts: object) -> int:
    """A seed of its own for every network, whatever others are trained."""
    return int(digest_of(map(repr, parts))[:12], 16)


def kept(store: Path, label: str, key: str, size: int, make: Callable[[], State]) -> Trained:
    """The network of this key, from an earlier run or trained now."""
    folder = store / "networks" / key
    if stamp(folder, key) is None:
        began = time.perf_counter()
        state = make()
        facts = {"label": label, "size": size, "seconds": time.perf_counter() - began}
        settle(folder, key, facts, lambda partial: write_weights(state, partial))
    told = stamp(folder, key) or {}
    return Trained(label, folder, size, float(told["seconds"]))
