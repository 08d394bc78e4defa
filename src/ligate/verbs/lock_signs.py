"""Is a model locked? From its own heads alone, or beside the model that it may come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Literal

from ligate.align.architecture import given_architecture
from ligate.align.finding import ALIKE, Network, found_alignment, weights_of_a
from ligate.align.maps import Group
from ligate.align.stored import Weights
from ligate.core.errors import InputError
from ligate.core.tensors import Source
from ligate.trace.heads import Apart, apart, gathered, in_heads, sides
from ligate.trace.telltale import Signs, signs

from .alignments import network
from .opening import opened
from .parallel import one_processor

if TYPE_CHECKING:
    from torch import Tensor

Path_ = str | PathLike[str]
Relation = Literal["locked", "partly locked", "not locked", "no relative"]

FAR = 0.3
"""Weights of a head that are further away than this share of its norm may be locked; fine-tunes stay below, mostly."""
NEARER = 0.5
"""A head is locked if it is far away, and what it computes is nearer than this share of that distance."""
STRANGE = 0.9
"""What a head computes is that of a stranger from this distance on; of independent heads it is about 1.4."""
_MOST = 0.5  # of the heads
_SMALL = 2**26  # numbers: up to here, units that were moved all over the network are looked for too


@dataclass(frozen=True)
class Beside:
    """A model beside another: medians over the heads, each as a share of the other model's.

    Args:
        weights: the distance of the numbers as they are.
        function: the distance of what the heads compute, whatever their coordinates.
        locked: the share of heads that are far away and compute nearly the same.
        before, after: cosine of the matrices of both models, as they are and aligned; None where that was not tried.
    """

    reference: str
    heads: int
    weights: float
    function: float
    locked: float
    before: float | None
    after: float | None
    relation: Relation


@dataclass(frozen=True)
class Checked:
    """`signs` are those of the model alone, by kind of head."""

    model: str
    signs: tuple[Signs, ...]
    beside: Beside | None
    locked: bool
    notes: tuple[str, ...]


def check_lock(
    model: Path_, reference: Path_ | None = None, *, groups: Path_ | None = None, architecture: str | None = None
) -> Checked:
    """What speaks for a lock on a model (`trace.telltale`), and beside the model `reference` (`trace.heads`).

    Raises:
        RecipeError, InputError: a model cannot be read or traced, or has no heads; the two do not fit together.
    """
    build = None if architecture is None else lambda: given_architecture(architecture)
    by_hand = None if groups is None else str(groups)
    with opened(model) as stored:
        found = network(stored, by_hand, build)
        heads = _heads(found)
        own = signs(own_weights(found.source), heads)
        beside = None
        if reference is not None:
            with opened(reference) as other:
                beside = _beside(found, network(other, by_hand, build), heads)
        locked = any(one.verdict == "locked" for one in own)
        locked = locked or (beside is not None and beside.relation in ("locked", "partly locked"))
        return Checked(found.stored.label, own, beside, locked, tuple(_notes(heads, own, beside)))


def own_weights(source: Source) -> Weights:
    return Weights(source, {name: name for name in source.headers()})


def weights_beside(found: Network, other: Network) -> Weights:
    """The tensors of another network by the names of this one.

    Raises:
        InputError: it lacks one on which units lie, or has it in another shape.
    """
    held, weights = found.source.headers(), weights_of_a(other, found)
    for name in dict.fromkeys(place.tensor for group in found.groups for place in group.places):
        shape = tuple(weights.header(name).shape)
        if shape != held[name].shape:
            text = f"has the shape {list(shape)}, in {found.stored.label} it is {list(held[name].shape)}"
            hint = "only models of one architecture and the same widths can be compared."
            raise InputError(text, hint=hint).inside(tensor=name, model=other.stored.label)
    return weights


def distances(locked: Mapping[str, Tensor], base: Mapping[str, Tensor], heads: Sequence[Group]) -> Apart:
    """Of all heads, in one row."""
    each = [apart(sides(locked, group), sides(base, group)) for group in heads]
    return Apart(gathered([one.weights for one in each]), gathered([one.function for one in each]))


def _heads(found: Network) -> list[Group]:
    heads = in_heads(found.groups)
    if not heads:
        text = "it has no heads of attention between whose matrices anything is free"
        raise InputError(
            text, where=f"model {found.stored.label}", hint="`ligate align MODEL --print` shows its units."
        )
    return heads


def _beside(found: Network, other: Network, heads: Sequence[Group]) -> Beside:
    import torch

    apart = distances(own_weights(found.source), weights_beside(found, other), heads)
    known = apart.weights.isfinite() & apart.function.isfinite()
    weights, function = apart.weights[known], apart.function[known]
    if not len(weights):
        raise InputError("all of its heads are zero", where=f"model {other.stored.label}")
    far = (weights > FAR) & (function < NEARER * weights)
    share, middle = float(far.double().mean()), float(torch.quantile(function, 0.5))
    before, after = _aligned(found, other) if middle >= STRANGE else (None, None)
    moved = after is not None and before is not None and after >= ALIKE > before
    relation: Relation = "not locked"
    if share > _MOST or moved:
        relation = "locked"
    elif middle >= STRANGE:
        relation = "no relative"
    elif share > 0:
        relation = "partly locked"
    far_away = float(torch.quantile(weights, 0.5))
    return Beside(other.stored.label, len(weights), far_away, middle, share, before, after, relation)


def _aligned(found: Network, other: Network) -> tuple[float | None, float | None]:
    """Heads that are strangers may only stand elsewhere: units are matched all over the network, if it is small."""
    if sum(header.numel for header in found.source.headers().values()) > _SMALL:
        return None, None
    with one_processor():
        made = found_alignment(other, found, "weights", starts=1).made
    return made.before, made.after


def _notes(heads: Sequence[Group], own: Sequence[Signs], beside: Beside | None) -> list[str]:
    told: list[str] = []
    turned = sum(group.copies for group in heads if group.kind == "orthogonal")
    if turned and beside is None:
        told.append(f"{turned} heads can only turn: that leaves no signs. Give `--reference`, if you know the base.")
    if not any(one.heads for one in own) and not turned:
        told.append("no head says anything: their matrices are narrower than the heads, or zero.")
    if beside is not None and beside.relation == "not locked" and any(one.verdict == "locked" for one in own):
        told.append("its heads look locked, and it has the coordinates of the reference: so look those of that one.")
    if beside is not None and beside.relation == "no relative" and beside.after is None:
        told.append("its units were not matched with the reference's all over the network: `ligate align` does that.")
    return told
