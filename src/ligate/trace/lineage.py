"""The whole: from sources to a graph in which every model has the parents that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ligate.core.tensors import Source

from .blends import Blend, linear_merges
from .branching import Branching, Fixed, branching
from .copies import Copy, copies, relocated
from .gathering import Gathered, Lost, gather
from .kinship import Clan, clan, clans, confidence, cosines, pooled
from .making import Making, costs, making
from .orders import reordered
from .samples import Sample, samples, whole
from .selections import Selection, selections
from .singular import Singular, singular_merges

Merge = Blend | Selection | Singular
Kind = Literal[
    "root", "alone", "tuned", "low rank", "copied", "rounded", "quantised", "pruned", "locked",
    "merged", "selected", "singular",
]  # fmt: skip
"""`merged` is a weighted sum, `selected` chosen element by element, `singular` put together in singular vectors."""


_SURE = 0.99  # what rounding and exact sums tell
_STRANGE = 0.1  # of a model's elements in other coordinates than most: it is looked for in no merge
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
    """Where one model came from. `making` compares a model with its only parent.

    Args:
        absent: whether its children lean the same way as much as siblings of it would: all of them may come from a
            model that is not here.
    """

    model: int
    kind: Kind
    origins: tuple[Origin, ...] = ()
    making: Making | None = None
    absent: bool = False

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
            related = clan(gathered, members)
            full = whole(sources, related.tensors)
            found |= family(related, kept, cosine, full, frozenset(moved), youngest)
    descents = tuple(found[model] for model in range(len(sources)))
    return Lineage(descents, tuple(families), cosine, tuple(lost), frozenset(moved))


def family(
    related: Clan,
    kept: Sequence[Sample],
    cosine: np.ndarray,
    full: Sequence[Sample] = (),
    moved: frozenset[int] = frozenset(),
    youngest: int | None = None,
) -> dict[int, Descent]:
    """The descent of every member of one family, by the numbers of the models."""
    copied = copies(kept, related.members, related.squared, moved)
    copied |= relocated(related, frozenset(model for model, each in copied.items() if each.kind == "copied"))
    merges = _merges([one for one in _usual(related) if one not in copied], related, kept, full)
    fixed = {model: Fixed((each.parent,)) for model, each in copied.items()}
    fixed |= {model: _fixed(each) for model, each in merges.items()}
    twins = {model for model, each in copied.items() if each.kind == "copied"}  # their original says as much
    last = {related.members.index(youngest)} if youngest in related.members else set[int]()
    tree = branching(related.squared, costs(related, kept), fixed, frozenset(twins | last))
    return {
        related.members[place]: replace(
            _descent(place, related, kept, cosine, (copied, merges), tree), absent=place in tree.absent
        )
        for place in range(len(related.members))
    }


def _merges(
    originals: Sequence[int], related: Clan, kept: Sequence[Sample], full: Sequence[Sample]
) -> dict[int, Merge]:
    """Merges among the originals: what was made from a copy could as well have been made from its original."""
    alike = ~related.foreign[:, originals].any(1)
    squared = pooled(related.parts[alike], related.sizes[alike])[np.ix_(originals, originals)]
    linear = linear_merges(squared)
    made = {model: list(each.weights) for model, each in linear.items()}
    loose = np.array([len(each.shape) != 2 for each in related.tensors])
    bases = [base for each in linear.values() if (base := _base(each)) is not None]
    unrolled = [_values(each, related, originals) for each in full if _comparable(each, related, originals)]
    singular = singular_merges(unrolled, squared, made, bases, elements(related, kept, originals, loose))
    made |= {model: [each.base, *each.parents] for model, each in singular.items()}
    chosen = selections(elements(related, kept, originals, np.ones_like(loose)), squared, made)
    found = {**chosen, **singular, **linear}
    return {originals[model]: _renamed(each, originals) for model, each in found.items()}


def _renamed(merge: Merge, names: Sequence[int]) -> Merge:
    if isinstance(merge, Blend):
        return Blend({names[one]: weight for one, weight in merge.weights.items()}, merge.left)
    return merge._replace(base=names[merge.base], parents=tuple(names[one] for one in merge.parents))


def _values(each: Sample, related: Clan, places: Sequence[int]) -> np.ndarray:
    """[models, rows, columns]"""
    rows = [each.holders.index(related.members[place]) for place in places]
    return each.values[rows].reshape(len(rows), each.rows, each.columns).astype(np.float64)


def _comparable(each: Sample, related: Clan, places: Sequence[int]) -> bool:
    """Whether some members all hold a tensor in the same coordinates."""
    number = next(at for at, one in enumerate(related.tensors) if (one.name, one.holders) == (each.name, each.holders))
    return {related.members[place] for place in places} <= set(each.holders) and not related.foreign[
        number, list(places)
    ].any()


def elements(related: Clan, kept: Sequence[Sample], places: Sequence[int], wanted: np.ndarray) -> np.ndarray:
    """[m, n] the sampled elements of the wanted tensors that some members all hold in the same coordinates."""
    rows = [
        _values(each, related, places).reshape(len(places), -1)
        for each, asked in zip(_of(related, kept), wanted, strict=True)
        if asked and _comparable(each, related, places)
    ]
    return np.concatenate([np.zeros((len(places), 0)), *rows], axis=1)


def _usual(related: Clan) -> list[int]:
    """Members that are mostly in the same coordinates as most: only their sums and choices mean anything."""
    return [int(place) for place in np.flatnonzero(related.sizes @ related.foreign <= _STRANGE * related.sizes.sum())]


def _of(related: Clan, kept: Sequence[Sample]) -> list[Sample]:
    by_tensor = {(each.name, each.holders): each for each in kept}
    return [by_tensor[each.name, each.holders] for each in related.tensors]


def _fixed(merge: Merge) -> Fixed:
    if not isinstance(merge, Blend):
        return Fixed(merge.parents, merge.base)
    base = _base(merge)
    return Fixed(tuple(one for one in merge.weights if one != base), base)


def _base(blend: Blend) -> int | None:
    return next((one for one, weight in blend.weights.items() if weight < 0), None)


def _descent(
    place: int,
    related: Clan,
    kept: Sequence[Sample],
    cosine: np.ndarray,
    fixed: tuple[Mapping[int, Copy], Mapping[int, Merge]],
    tree: Branching,
) -> Descent:
    copied, merges = fixed
    model = related.members[place]

    def origin(other: int, sure: float, weight: float | None = None, *, base: bool = False) -> Origin:
        number = related.members[other]
        return Origin(number, weight, sure * confidence(float(cosine[model, number])), "base" if base else "parent")

    if place in copied:
        each = copied[place]
        return Descent(model, each.kind, (origin(each.parent, _SURE),), making(related, kept, place, each.parent))
    if place in merges:
        return _merged(model, merges[place], origin)
    if place == tree.root:
        return Descent(model, "root")
    parent = tree.parents[place]
    how = making(related, kept, place, parent)
    sure = tree.forward[place] / (1 + float(np.exp(-_PER_NAT * tree.margins[place])))
    return Descent(model, "low rank" if how.rank else "tuned", (origin(parent, sure),), how)


def _merged(model: int, merge: Merge, origin: Callable[..., Origin]) -> Descent:
    if isinstance(merge, Blend):
        sure, base = _SURE * (1 - merge.left), _base(merge)
        weights = sorted(merge.weights.items(), key=lambda one: -one[1])
        return Descent(model, "merged", tuple(origin(one, sure, weight, base=one == base) for one, weight in weights))
    sure = _SURE * (merge.covered if isinstance(merge, Selection) else 1.0)
    origins = [origin(one, sure) for one in merge.parents]
    kind = "selected" if isinstance(merge, Selection) else "singular"
    return Descent(model, kind, (*origins, origin(merge.base, sure, base=True)))


__all__ = ["Descent", "Gathered", "Lineage", "Origin", "lineage"]
