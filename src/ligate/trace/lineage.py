"""The whole: from sources to a graph in which every model has the parents that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ligate.core.tensors import Source

from .blends import Blend, linear_merges
from .branching import Branching, Fixed, branching
from .copies import Copy, copies
from .gathering import Gathered, Lost, gather
from .kinship import Clan, clan, clans, confidence, cosines
from .making import Making, costs, making
from .orders import reordered
from .samples import Sample, samples
from .selections import Selection, selections

Kind = Literal["root", "alone", "tuned", "low rank", "copied", "rounded", "quantised", "pruned", "merged", "selected"]

_SURE = 0.99  # what rounding and exact sums tell
_PER_NAT = 0.5  # of the margin between two parents, in the logistic curve that makes it a confidence


class Origin(NamedTuple):
    """A model that another was made from.

    Args:
        weight: in a linear merge; the weights of all origins, base included, add up to 1.
        confidence: that this model is a parent, and not a child, a sibling or a stranger.
        role: `base` where only a part of it that others share was used or taken away.
    """

    model: int
    weight: float | None
    confidence: float
    role: Literal["parent", "base"] = "parent"


@dataclass(frozen=True)
class Descent:
    """Where one model came from. `making` compares a model with its only parent."""

    model: int
    kind: Kind
    origins: tuple[Origin, ...] = ()
    making: Making | None = None

    @property
    def parents(self) -> tuple[Origin, ...]:
        return tuple(each for each in self.origins if each.role == "parent")


@dataclass(frozen=True)
class Lineage:
    """Args:
    descents: one for each model, in their order.
    families: models that are related; those that are related to nobody are alone.
    cosines: [models, models] of what two models have in common, NaN where nothing can be compared.
    lost: what could not be read.
    reordered: models that are related to others of their family only after their units were put in order.
    """

    descents: tuple[Descent, ...]
    families: tuple[tuple[int, ...], ...]
    cosines: np.ndarray
    lost: tuple[Lost, ...]
    reordered: frozenset[int] = frozenset()


def lineage(
    sources: Sequence[Source], advance: Callable[[int], None] = lambda nbytes: None, *, youngest: int | None = None
) -> Lineage:
    """Trace all models of some sources. Every tensor is read once; once more where models were found to be reordered.

    Args:
        youngest: a model that is nobody's parent, if one is known to be.
    """
    gathered, lost = gather(sources, advance)
    cosine = cosines(gathered, len(sources))
    moved = reordered(sources, clans(cosine))
    if moved:
        sources = [moved.get(number, source) for number, source in enumerate(sources)]
        gathered, lost = gather(sources, advance)
        cosine = cosines(gathered, len(sources))
    kept, families = samples(sources, gathered), clans(cosine)
    found: dict[int, Descent] = {}
    for members in families:
        if len(members) == 1:
            found[members[0]] = Descent(members[0], "alone")
        else:
            found |= family(clan(gathered, members), kept, cosine, frozenset(moved), youngest)
    descents = tuple(found[model] for model in range(len(sources)))
    return Lineage(descents, tuple(families), cosine, tuple(lost), frozenset(moved))


def family(
    related: Clan,
    kept: Sequence[Sample],
    cosine: np.ndarray,
    moved: frozenset[int] = frozenset(),
    youngest: int | None = None,
) -> dict[int, Descent]:
    """The descent of every member of one family, by the numbers of the models."""
    copied = copies(kept, related.members, related.squared, moved)
    linear, chosen = _merges([one for one in range(len(related.members)) if one not in copied], related, kept)
    fixed = {model: Fixed((each.parent,)) for model, each in copied.items()}
    fixed |= {model: _fixed(each) for model, each in linear.items()}
    fixed |= {model: Fixed(each.parents, each.base) for model, each in chosen.items()}
    last = related.members.index(youngest) if youngest in related.members else None
    tree = branching(related.squared, costs(related, kept), fixed, last)
    return {
        related.members[place]: _descent(place, related, kept, cosine, (copied, linear, chosen), tree)
        for place in range(len(related.members))
    }


def _merges(
    originals: Sequence[int], related: Clan, kept: Sequence[Sample]
) -> tuple[dict[int, Blend], dict[int, Selection]]:
    """Merges among the originals: what was made from a copy could as well have been made from its original."""
    squared = related.squared[np.ix_(originals, originals)]
    linear = linear_merges(squared)
    known = {model: list(each.weights) for model, each in linear.items()}
    chosen = selections(elements(related, kept)[list(originals)], squared, known)
    blends = {
        originals[model]: Blend({originals[one]: weight for one, weight in each.weights.items()}, each.left)
        for model, each in linear.items()
    }
    picked = {
        originals[model]: each._replace(
            base=originals[each.base], parents=tuple(originals[one] for one in each.parents)
        )
        for model, each in chosen.items()
    }
    return blends, picked


def elements(related: Clan, kept: Sequence[Sample]) -> np.ndarray:
    """[m, n] the sampled elements that all members hold in the same coordinates."""
    wanted = set(related.members)
    rows = [
        each.values[[each.holders.index(one) for one in related.members]]
        for each, foreign in zip(_of(related, kept), related.foreign, strict=True)
        if wanted <= set(each.holders) and not foreign.any()
    ]
    return np.concatenate([np.zeros((len(related.members), 0)), *rows], axis=1).astype(np.float64)


def _of(related: Clan, kept: Sequence[Sample]) -> list[Sample]:
    by_tensor = {(each.name, each.holders): each for each in kept}
    return [by_tensor[each.name, each.holders] for each in related.tensors]


def _fixed(blend: Blend) -> Fixed:
    base = _base(blend)
    return Fixed(tuple(one for one in blend.weights if one != base), base)


def _base(blend: Blend) -> int | None:
    return next((one for one, weight in blend.weights.items() if weight < 0), None)


def _descent(
    place: int,
    related: Clan,
    kept: Sequence[Sample],
    cosine: np.ndarray,
    fixed: tuple[Mapping[int, Copy], Mapping[int, Blend], Mapping[int, Selection]],
    tree: Branching,
) -> Descent:
    copied, linear, chosen = fixed
    model = related.members[place]

    def origin(other: int, sure: float, weight: float | None = None, *, base: bool = False) -> Origin:
        number = related.members[other]
        return Origin(number, weight, sure * confidence(float(cosine[model, number])), "base" if base else "parent")

    if place in copied:
        each = copied[place]
        return Descent(model, each.kind, (origin(each.parent, _SURE),), making(related, kept, place, each.parent))
    if place in linear:
        blend = linear[place]
        sure = _SURE * (1 - blend.left)
        base = _base(blend)
        weights = sorted(blend.weights.items(), key=lambda one: -one[1])
        return Descent(model, "merged", tuple(origin(one, sure, weight, base=one == base) for one, weight in weights))
    if place in chosen:
        picked = chosen[place]
        origins = [origin(one, _SURE * picked.covered) for one in picked.parents]
        return Descent(model, "selected", (*origins, origin(picked.base, _SURE * picked.covered, base=True)))
    if place == tree.root:
        return Descent(model, "root")
    parent = tree.parents[place]
    how = making(related, kept, place, parent)
    sure = tree.forward[place] / (1 + float(np.exp(-_PER_NAT * tree.margins[place])))
    return Descent(model, "low rank" if how.rank else "tuned", (origin(parent, sure),), how)


__all__ = ["Descent", "Gathered", "Lineage", "Origin", "lineage"]
