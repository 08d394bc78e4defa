"""Families of small real networks whose descent is known: what `benchmarks/lineage.py` asks `ligate trace` about.

A root is a network trained on its own (digits), or MiniLM. It is fine-tuned, fully and by low rank, over three
generations, merged by several rules, and its descendants are rounded, pruned and reordered. Every network is written
under a name that says nothing, without config, metadata, record or time; who descends from whom stands in a file beside
the folder.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import AxisMap, Group, applied, reordered
from ligate.align.members import random_member
from ligate.bench.encoder import Encoder, load, pretrained_folder
from ligate.bench.suites.digits.data import digits
from ligate.bench.suites.digits.networks import Architecture, Lesson, train
from ligate.bench.weights import read_weights, write_weights
from ligate.trace.heads import in_heads
from ligate.trace.locking import draw_of, drawn
from ligate.verbs.state_dicts import merge_state_dicts

State = Mapping[str, Tensor]


class Tuning(NamedTuple):
    """How a child is trained: on a task, at a rate, for so many steps; by low rank where `rank` is given."""

    task: int
    rate: float
    steps: int
    rank: int = 0
    decay: float = 0.0


class Merge(NamedTuple):
    method: str
    parents: tuple[str, ...]
    base: str | None = None
    params: Mapping[str, Any] = {}
    weights: tuple[float, ...] | None = None  # of the parents, where the rule is linear


class Truth(NamedTuple):
    """How one network came to be. `parents` are empty for a root."""

    parents: tuple[str, ...]
    how: str
    base: str | None = None
    weights: tuple[float, ...] | None = None


TUNED: Mapping[str, tuple[str, Tuning]] = {
    "a": ("root", Tuning(1, 1.0, 3)),
    "b": ("root", Tuning(2, 0.5, 2, decay=0.01)),
    "c": ("root", Tuning(3, 2.0, 3, rank=4)),
    "d": ("root", Tuning(6, 1.0, 2)),
    "a1": ("a", Tuning(4, 0.5, 3)),
    "a2": ("a", Tuning(5, 2.0, 2, rank=4)),
    "b1": ("b", Tuning(3, 1.0, 2, decay=0.01)),
    "c1": ("c", Tuning(1, 0.5, 3)),
    "a11": ("a1", Tuning(5, 1.0, 2)),
    "b11": ("b1", Tuning(4, 2.0, 3, rank=4)),
}
"""child -> parent, tuning. Rates and steps are multiples of what the root's kind takes: see `_Digits`, `_MiniLm`."""

MERGED: Mapping[str, Merge] = {
    "linear": Merge("linear", ("a", "b"), params={"weight": [0.35, 0.65]}, weights=(0.35, 0.65)),
    "soup": Merge("linear", ("a1", "c", "d"), weights=(1 / 3, 1 / 3, 1 / 3)),
    "arithmetic": Merge("task_arithmetic", ("a", "b", "c"), "root", {"scale": 0.5}, (0.5, 0.5, 0.5)),
    "ties": Merge("ties", ("a", "d"), "root", {"density": 0.4}),
    "dare": Merge("dare_linear", ("b", "c"), "root", {"density": 0.5, "weight": 0.5}),
    "dare_ties": Merge("dare_ties", ("a1", "b"), "root", {"density": 0.7}),
    "slerp": Merge("slerp", ("b1",), "a1", {"t": 0.4}),
    "breadcrumbs": Merge("breadcrumbs", ("b1", "c1"), "root", {"density": 0.6, "scale": 0.7}),
    "iso_c": Merge("iso_c", ("a", "d"), "root"),
    "tsv_m": Merge("tsv_m", ("b", "c"), "root"),
    "tsv_m_three": Merge("tsv_m", ("a1", "b1", "d"), "root"),
    "knots": Merge("knots", ("b", "d"), "root", {"density": 0.4}),
}
AFTER: Mapping[str, tuple[str, Tuning]] = {
    "linear1": ("linear", Tuning(4, 0.5, 2)),
    "ties1": ("ties", Tuning(5, 0.5, 2)),
}
LOCKED: Mapping[str, tuple[str, Tuning]] = {"locked1": ("locked", Tuning(3, 1.0, 2))}
"""Children of a locked network, where there are heads to lock."""

COPIED: Mapping[str, tuple[str, str]] = {
    "int8": ("b1", "rounded to int8"),
    "half": ("a2", "rounded to float16"),
    "pruned": ("c1", "pruned"),
    "moved": ("d", "reordered"),
    "moved_tuned": ("b", "reordered after tuning"),
    "locked": ("d", "locked"),
}


class Kin(NamedTuple):
    """What a kind of root needs: its network, how it is tuned, its symmetries, children that were trained before."""

    root: State
    tune: Callable[[State, Tuning, int], State]
    groups: Sequence[Group]
    trained: Mapping[str, State] = {}


def family(kin: Kin, seed: int, only: Sequence[str] | None = None) -> tuple[dict[str, State], dict[str, Truth]]:
    """All networks of one family by name, and how each came to be. `only` leaves out the others, where they can be."""
    nets: dict[str, State] = {"root": kin.root}
    truth = {"root": Truth((), "root")}

    def tuned(table: Mapping[str, tuple[str, Tuning]]) -> None:
        for name, (parent, tuning) in table.items():
            nets[name] = kin.trained.get(name) or kin.tune(nets[parent], tuning, _seed(seed, name))
            truth[name] = Truth((parent,), "low rank" if tuning.rank else "tuned")

    tuned(TUNED)
    for name, rule in MERGED.items():
        base = nets[rule.base] if rule.base else None
        nets[name] = merge_state_dicts(
            rule.method, base, {each: nets[each] for each in rule.parents}, seed=seed, threads=1, **rule.params
        )
        ends = rule.method == "slerp"  # its base is one of the two that are merged
        parents = (rule.base, *rule.parents) if rule.base and ends else rule.parents
        truth[name] = Truth(parents, rule.method, None if ends else rule.base, rule.weights)
    tuned(AFTER)
    heads = in_heads(kin.groups)
    for name, (parent, how) in COPIED.items():
        if how == "locked" and not heads:
            continue
        start = kin.tune(nets[parent], Tuning(1, 0.5, 2), _seed(seed, name)) if "tuning" in how else nets[parent]
        nets[name] = _copied(start, how, kin.groups, _seed(seed, name))
        truth[name] = Truth((parent,), how)
    tuned(LOCKED if heads else {})
    return nets, truth


def write_family(folder: Path, nets: Mapping[str, State], truth: Mapping[str, Truth], salt: str) -> dict[str, Any]:
    """Write every network under a meaningless name; the answers by these names."""
    named = {name: hashlib.blake2s(f"{salt}/{name}".encode(), digest_size=4).hexdigest() for name in nets}
    for name, state in nets.items():
        write_weights({key: value.contiguous() for key, value in state.items()}, folder / named[name])
        for path in (*(folder / named[name]).iterdir(), folder / named[name]):
            os.utime(path, (0, 0))
    return {
        named[name]: {
            "family": salt,
            "called": name,
            "parents": [named[each] for each in told.parents],
            "base": named[told.base] if told.base else None,
            "how": told.how,
            "weights": told.weights,
        }
        for name, told in truth.items()
    }


def _copied(state: State, how: str, groups: Sequence[Group], seed: int) -> State:
    if how == "rounded to int8":
        return {name: _int8(value) for name, value in state.items()}
    if how == "rounded to float16":
        return {name: value.half() for name, value in state.items()}
    if how == "pruned":
        return {name: _pruned(value) for name, value in state.items()}
    if how == "locked":
        return applied(state, drawn(in_heads(groups), state, draw_of(seed)))
    return applied(state, _orders(groups, seed))


def _int8(value: Tensor) -> Tensor:
    """Each row of a matrix on 255 levels, as numbers of the old type."""
    if value.ndim < 2:
        return value
    step = value.flatten(1).abs().amax(1).clamp_min(1e-12).reshape(-1, *[1] * (value.ndim - 1)) / 127
    return (value / step).round() * step


def _pruned(value: Tensor, share: float = 0.3) -> Tensor:
    """The smallest numbers of a matrix set to zero."""
    if value.ndim < 2:
        return value
    return torch.where(value.abs() >= value.abs().flatten().kthvalue(int(share * value.numel())).values, value, 0)


def _orders(groups: Sequence[Group], seed: int) -> list[AxisMap]:
    """Units of every group in another order, whatever else they could undergo."""
    draw = torch.Generator().manual_seed(seed)
    fit = [group for group in groups if group.kind != "rotary"]
    return [_order(group, draw) for group in fit]


def _order(group: Group, draw: torch.Generator) -> AxisMap:
    if group.kind == "permutation":
        return random_member(group, {}, draw)
    order = torch.stack([torch.randperm(group.size, generator=draw) for _ in range(group.copies)])
    return reordered(group, order if group.copies > 1 else order[0])


def _seed(*parts: object) -> int:
    return int(hashlib.blake2s(repr(parts).encode(), digest_size=6).hexdigest(), 16)


# Digits

_CHANGES: Sequence[Callable[[Tensor], Tensor]] = (
    lambda images: images,
    lambda images: images.rot90(1, (1, 2)),
    lambda images: images.flip(2),
    lambda images: torch.nn.functional.pad(images, (2, 0, 2, 0))[:, :8, :8],
    lambda images: images.transpose(1, 2),
    lambda images: images.rot90(2, (1, 2)),
    lambda images: torch.nn.functional.pad(images, (0, 2, 0, 2))[:, 2:, 2:],
)


def digits_kin(architecture: Architecture, seed: int) -> Kin:
    """A network trained on half of the images as they are, whose children see the other half changed."""
    images = digits()["train"]
    first = images.at(torch.arange(0, len(images), 2))
    root = train(architecture, None, first, Lesson(25, 1e-3), seed)
    network = architecture.build()
    groups = symmetries(network, (torch.zeros(2, 8, 8),)).groups
    return Kin(root, lambda state, tuning, each: _tune_digits(architecture, state, tuning, each), groups)


def _tune_digits(architecture: Architecture, state: State, tuning: Tuning, seed: int) -> State:
    images = digits()["train"]
    draw = torch.Generator().manual_seed(seed)
    own = torch.randperm(len(images), generator=draw)[: len(images) // 2]
    x, y = _CHANGES[tuning.task](images.images[own]).contiguous(), images.labels[own]
    network = architecture.build()
    network.load_state_dict({name: value.float() for name, value in state.items()})

    def loss(batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(x[batch]), y[batch])

    epochs = [torch.randperm(len(y), generator=draw).split(32) for _ in range(tuning.steps)]
    _descend(network, loss, [batch for epoch in epochs for batch in epoch], tuning, 5e-4)
    return {name: value.detach() for name, value in network.state_dict().items()}


def _descend(
    network: nn.Module,
    loss: Callable[[Any], Tensor],
    batches: Sequence[Any],
    tuning: Tuning,
    rate: float,
    only: Sequence[str] = ("",),
) -> None:
    """Adam at a multiple of the rate; with a rank, only low-rank changes of the matrices are learned, then added."""
    pairs: list[tuple[nn.Parameter, Tensor, nn.Parameter, nn.Parameter]] = []
    if tuning.rank:
        for name, weight in network.named_parameters():
            weight.requires_grad_(False)
            if (
                weight.ndim >= 2
                and min(weight.shape[0], weight[0].numel()) > tuning.rank
                and any(o in name for o in only)
            ):
                down = nn.Parameter(torch.randn(tuning.rank, weight[0].numel()) / weight[0].numel() ** 0.5)
                pairs.append(
                    (weight, weight.detach().clone(), nn.Parameter(torch.zeros(len(weight), tuning.rank)), down)
                )
    learned = [each for _, _, up, down in pairs for each in (up, down)] or list(network.parameters())
    optimizer = torch.optim.AdamW(learned, lr=tuning.rate * rate * (4 if pairs else 1), weight_decay=tuning.decay)
    for batch in batches:
        for weight, start, up, down in pairs:
            weight.data = start + (up @ down).detach().reshape(start.shape)
            weight.requires_grad_(True)
            weight.grad = None
        optimizer.zero_grad()
        loss(batch).backward()
        for weight, _, up, down in pairs:  # d loss / d (up @ down) is the gradient of the weight
            slope = (
                weight.grad.reshape(len(weight), -1)
                if weight.grad is not None
                else torch.zeros(len(weight), down.shape[1])
            )
            up.grad, down.grad = slope @ down.detach().T, up.detach().T @ slope
        optimizer.step()
    for weight, start, up, down in pairs:
        weight.data = start + (up @ down).detach().reshape(start.shape)


# MiniLM, tuned to tell which module of the standard library a docstring belongs to

_MODULES: Sequence[Sequence[str]] = (
    ("collections", "email", "tkinter", "asyncio"),
    ("argparse", "socket", "decimal", "unittest"),
    ("os", "threading", "random", "html"),
    ("logging", "fractions", "ast", "zipfile"),
    ("datetime", "pathlib", "subprocess", "statistics"),
    ("typing", "http", "json", "multiprocessing"),
    ("enum", "csv", "configparser", "inspect"),
)
_TOKENS, _BATCH, _STEPS = 24, 16, 14


def minilm_kin(model: str | None = None, experts: Sequence[Path] = ()) -> Kin:
    """MiniLM. `experts`, fine-tunes of it in model folders, take the places of a, b and d, which are trained else."""
    encoder = load(pretrained_folder(model))
    root = {
        name: value.detach().clone() for name, value in encoder.model.state_dict().items() if value.is_floating_point()
    }
    ids = {"input_ids": torch.tensor([[1, 2, 3, 4]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    groups = symmetries(encoder.model, (), ids).groups
    read = zip("abd", map(read_weights, experts), strict=False)
    first = {name: {key: state[key] for key in root} for name, state in read}
    return Kin(root, lambda state, tuning, seed: _tune_minilm(encoder, state, tuning, seed), groups, first)


def _tune_minilm(encoder: Encoder, state: State, tuning: Tuning, seed: int) -> State:
    draw = torch.Generator().manual_seed(seed)
    encoder.model.load_state_dict(dict(state), strict=False)
    encoder.model.requires_grad_(True)
    texts, answers = _texts(_MODULES[tuning.task])
    tokens = encoder.tokens(texts, _TOKENS)
    head = torch.randn(384, len(_MODULES[tuning.task]), generator=draw) / 384**0.5

    def loss(batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(20 * encoder.vectors([tokens[i] for i in batch]) @ head, answers[batch])

    batches = torch.randint(len(texts), (tuning.steps * _STEPS, _BATCH), generator=draw)
    _descend(encoder.model, loss, list(batches), tuning, 4e-5, only=("query", "value"))
    return {name: encoder.model.state_dict()[name].detach().clone() for name in state}


@cache
def _texts(modules: Sequence[str]) -> tuple[list[str], Tensor]:
    found = [(text, number) for number, name in enumerate(modules) for text in _docstrings(name)]
    return [text for text, _ in found], torch.tensor([number for _, number in found])


def _docstrings(module: str) -> list[str]:
    held = __import__(module)
    every = [held, *(value for _, value in sorted(vars(held).items()))]
    inner = [value for each in every if inspect.isclass(each) for _, value in sorted(vars(each).items())]
    texts = [inspect.getdoc(each) for each in (*every, *inner) if callable(each) or inspect.ismodule(each)]
    return sorted({text for text in texts if text and len(text) > 40})[:200]


def write_answers(path: Path, answers: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(answers, indent=1), "utf-8")
