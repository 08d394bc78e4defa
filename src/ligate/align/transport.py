r"""One network brought to the widths and the order of another by optimal transport: OTFusion, arXiv 1910.05653.

For each group of units, a coupling T [units of B, units of A] of least cost (coupling.py). The cost is the distance of
a unit of B to one of A: between the weights that bring both forth, with the maps of earlier groups applied to B, or
between what both were seen to do on the same inputs (arXiv 2310.05719 does so for transformers). Then

    write = (T / column sums)^T     a unit of A is a mean of units of B: rows of matrices, biases, norms
    read  = (T / row sums)^T        what read a unit of B is shared out over the units that it became part of

Where units of B that are the same are brought together, this keeps the function. The paper takes the first for both
(`readers="means"`), which is the same between equal widths with equal masses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.align.coupling import Masses, Metric, Solver, coupled, distances, masses, order
from ligate.align.maps import AxisMap, Group, Place, mapped, reordered, units
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Key = tuple[str, int, int]
"""Tensor, axis and factor of the axis: where units lie, whatever their number."""

Seen = tuple[Mapping[str, "Tensor"], Mapping[str, "Tensor"]]
"""What the units of A and of B did on the same inputs, by the names of their groups."""

Readers = Literal["shares", "means"]

_RECORD = "record both networks on the same inputs, all groups of them."


class Partners(NamedTuple):
    """The same units of both networks, by name and place; there may be more of them in one."""

    a: Group
    b: Group


class Transport(NamedTuple):
    """What was found.

    Args:
        maps: bring B to the widths and the order of A, in this order.
        couplings: group of A -> [units of B, units of A], sum 1; with one more axis in front where there are copies.
        costs: group of A -> the mean distance that a unit of B is moved.
    """

    maps: tuple[AxisMap, ...]
    couplings: Mapping[str, Tensor]
    costs: Mapping[str, float]


class How(NamedTuple):
    """How units are compared and brought together; `PAPER` is what arXiv 1910.05653 does.

    Args:
        solver: `undivided` is no optimal transport but between widths of which one is a multiple of the other, where it
            is `exact`; a wider B' then computes what B does.
        entropy: of `sinkhorn`, as a share of the largest distance.
        masses: `importance` takes the norms of what units are compared by, and makes mixtures of permutations. Does not
            count for `undivided`.
        sweeps: how often each group is coupled anew, all others held still.
    """

    solver: Solver = "undivided"
    entropy: float = 0.06
    metric: Metric = "squared"
    masses: Masses = "uniform"
    readers: Readers = "shares"
    sweeps: int = 5


DEFAULT = How()
PAPER = How(solver="exact", metric="euclidean", readers="means", sweeps=1)
TRANSFORMERS = How(solver="sinkhorn", metric="correlation", sweeps=1)
"""As arXiv 2310.05719 for weights; for activations with entropy 0.08. Its distance is the root of twice this one."""


def ot_fusion(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    groups_a: Sequence[Group],
    groups_b: Sequence[Group],
    *,
    how: How = DEFAULT,
    seen: Seen | None = None,
) -> Transport:
    """Bring B to the widths of A, group by group, each when what goes into it is known; in float64.

    Between equal widths all solvers but `sinkhorn` find permutations, which move every number as it is. Groups of kind
    rotary stay as they are. After the first sweep, further ones compare units by all weights on which they lie, those
    that read them too, until nothing changes. Constants that a model computes from its widths (the temperature of
    attention) are A's.

    Args:
        a, b: weights by name. Both networks have the same ones; only widths may differ.
        groups_a, groups_b: of each network, from `symmetries`.
        seen: of A and of B, by group: [samples, units] or, for groups with copies, [samples, copies, units], on the
            same inputs. Units are then compared by what they did, not by weights. A group whose units count the copies
            of others (heads) needs none: it is compared by what is inside.

    Differs: the paper compares units by incoming weights; here whatever leads to groups that are known counts, so that
        classes speak for the last hidden layer. The paper and its code have neither biases, norms nor residual sums.
        Here the graph says which units are one group: all that writes to a residual stream has one coupling, where
        arXiv 2310.05719 averages several. It mixes units of all heads; here heads are coupled first, each pair by the
        cheapest coupling of what is inside.

    Raises:
        InputError: the networks have different depths or places; sizes differ where units cannot move, or where one
            tensor both brings units forth and reads them (tied embeddings; queries, keys and values of heads in one);
            a solver is not installed; there is nothing to compare the units of a group by.
    """
    _same_depth(a, b)
    pairs = partners(groups_a, groups_b)
    _same_elsewhere(a, b, pairs)
    for pair in pairs:
        _two_sided(pair)
    fusion = _Fusion(a, b, [pair for pair in pairs if pair.a.kind != "rotary"], how, seen)
    fusion.run()
    return Transport(tuple(fusion.maps()), fusion.couplings, fusion.costs)


def shares(coupling: Tensor, readers: Readers = "shares") -> tuple[Tensor, Tensor]:
    """`write` and `read` of a map, [units of A, units of B], from a coupling [units of B, units of A].

    >>> shares(torch.tensor([[0.5, 0.0], [0.25, 0.25]]))[0].tolist()
    [[0.6666666865348816, 0.3333333432674408], [0.0, 1.0]]
    """
    write = (coupling / coupling.sum(-2, keepdim=True)).mT
    return write, write if readers == "means" else (coupling / coupling.sum(-1, keepdim=True)).mT


def moved(group: Group, coupling: Tensor, readers: Readers = "shares") -> AxisMap:
    """The map of a group of B that its coupling says. A permutation is an order of units, of every number as it is.

    Otherwise the scale of a norm is brought along like a bias: its units are means, too.
    """
    chosen = order(coupling)
    if chosen is not None:
        return reordered(group, chosen)
    places = (
        place._replace(role="writes" if place.role in ("scales", "shifts") else place.role, scale="")
        for place in group.places
    )
    return AxisMap(group._replace(places=tuple(places)), *shares(coupling, readers))


def partners(groups_a: Sequence[Group], groups_b: Sequence[Group]) -> list[Partners]:
    """Groups that lie on the same axes of the same tensors, in the order of A.

    Raises:
        InputError: a group of one network has no partner, or one with other places.
    """
    theirs = {_keys(group)[0]: group for group in groups_b}
    found: list[Partners] = []
    for group in groups_a:
        other = theirs.pop(_keys(group)[0], None)
        if other is None or _keys(other) != _keys(group):
            raise _alone(group, other, "first")
        if group.kind == "rotary" and group.size != other.size:
            raise InputError(
                f"has {other.size} units in one network and {group.size} in the other, turned in pairs by position",
                where=f"group {group.name}",
                hint="heads under rotary positions can only be brought together where they have the same size.",
            )
        found.append(Partners(group, other))
    for group in theirs.values():
        raise _alone(group, None, "second")
    return found


def _keys(group: Group) -> list[Key]:
    return [(place.tensor, place.dim, place.factor) for place in group.places]


def _alone(group: Group, other: Group | None, which: str) -> InputError:
    odd = set(_keys(group)) ^ set(_keys(other)) if other else set()
    less = f" with the same places ({min(odd)[0]} differs)" if odd else ""
    return InputError(
        f"has no partner{less} in the other network",
        where=f"group {group.name} of the {which} network",
        hint="networks of different widths need the same layers and heads that are split up alike.",
    )


def _incomparable(name: str) -> InputError:
    return InputError(
        "lies on no weight by which its units could be compared before others are known",
        where=f"group {name}",
        hint="compare units by what they do: hand in activations.",
    )


def _same_depth(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    for one, other, which in ((a, b, "first"), (b, a, "second")):
        for name in one:
            if name not in other:
                raise InputError(
                    f"is only in the {which} network",
                    where=f"tensor {name}",
                    hint="widths may differ, depth and kinds of layers may not: leave out layers of the deeper one.",
                )


def _same_elsewhere(a: Mapping[str, Tensor], b: Mapping[str, Tensor], pairs: Sequence[Partners]) -> None:
    """What no group moves has the same size in both: other axes, and other factors of the axes of groups."""
    moving = {key for pair in pairs for key in _keys(pair.a)}
    factors = {key[:2]: (x.sizes, y.sizes) for pair in pairs for key, x, y in _places(pair)}
    for name, value in a.items():
        whole = [((size,), (other,)) for size, other in zip(value.shape, b[name].shape, strict=False)]
        seen = [factors.get((name, dim), sizes) for dim, sizes in enumerate(whole)]
        fits = value.ndim == b[name].ndim and all(
            x == y or (name, dim, factor) in moving
            for dim, (ours, theirs) in enumerate(seen)
            for factor, (x, y) in enumerate(zip(ours, theirs, strict=True))
        )
        if not fits:
            raise InputError(
                f"has the shape {list(value.shape)} in one network and {list(b[name].shape)} in the other",
                where=f"tensor {name}",
                hint="what networks take in and give out has to be the same (words, classes, hidden states that are "
                "returned); only hidden units are brought to other widths.",
            )


def _two_sided(pair: Partners) -> None:
    """Refuse other widths where one tensor has to be moved by `write` and by `read`, which then differ."""
    group = pair.a
    fused = group.copies > 1 and group.kind == "orthogonal"  # queries and keys in one
    if group.size != pair.b.size and (fused or any(place.role == "both" for place in group.places)):
        raise InputError(
            f"goes from {pair.b.size} to {group.size} units, and one tensor both brings them forth and reads them",
            where=f"group {group.name}",
            hint="load both networks with weights that are not tied (tie_word_embeddings: false), or keep this width.",
        )


def _places(pair: Partners) -> list[tuple[Key, Place, Place]]:
    return list(zip(_keys(pair.a), pair.a.places, pair.b.places, strict=True))


class _Fusion:
    """Couplings found so far, in an order in which they can be applied. Groups are told by their names in A."""

    def __init__(
        self, a: Mapping[str, Tensor], b: Mapping[str, Tensor], pairs: Sequence[Partners], how: How, seen: Seen | None
    ) -> None:
        self._a, self._b, self._how, self._seen = a, b, how, seen
        self._pairs = {pair.a.name: pair for pair in pairs}
        self._owners = {key: name for name, pair in self._pairs.items() for key in _keys(pair.a)}
        self._on: dict[str, set[Key]] = {}
        for key in self._owners:
            self._on.setdefault(key[0], set()).add(key)
        self._moves: dict[str, AxisMap] = {}
        self.couplings: dict[str, Tensor] = {}
        self.costs: dict[str, float] = {}

    def run(self) -> None:
        left = list(self._pairs)
        while left:
            name = max(left, key=self._ready)
            left.remove(name)
            self._solve(name)
        names = list(self.couplings)
        for _ in range(self._how.sweeps - 1 if self._seen is None else 0):  # what units do stays what it is
            before = dict(self.couplings)
            for name in names:
                self._forget(name)
                self._solve(name)
            if all(before[name].equal(self.couplings[name]) for name in names):
                break

    def maps(self) -> list[AxisMap]:
        """Of all couplings, each for the sizes that the ones before it have made."""
        done: set[str] = set()
        found: list[AxisMap] = []
        for name in self.couplings:
            group, move = self._pairs[name].a, self._moves[name]
            places = (self._sized(x, y, done) for x, y in zip(group.places, move.group.places, strict=True))
            found.append(move._replace(group=move.group._replace(places=tuple(places), copies=group.copies)))
            done.add(name)
        return found

    def _ready(self, name: str) -> float:
        """The share of the numbers that bring the units forth by which they can be compared already."""
        if self._seen is not None:
            return float(all(owner in self.couplings for owner in self._counted_by(name)))
        settled = {*self.couplings, *self._inside(name)}
        numbers = [
            (self._a[place.tensor].numel(), self._comparable(name, key, settled))
            for key, place, _ in _places(self._pairs[name])
            if place.role != "reads" and place.tensor in self._a
        ]
        return sum(size for size, ready in numbers if ready) / max(sum(size for size, _ in numbers), 1)

    def _forget(self, name: str) -> None:
        for each in (name, *self._inside(name)):
            self.couplings.pop(each, None)

    def _solve(self, name: str) -> None:
        inside = self._inside(name)
        if inside:
            cost, *mass = self._of_heads(name, inside)
            costs, masses_b, masses_a = ([each] for each in (cost, *mass))
        else:
            rows = self._rows(name)
            if rows is None:
                raise _incomparable(name)
            costs = [distances(y, x, self._how.metric) for y, x in zip(*rows, strict=True)]
            masses_b, masses_a = ([masses(each, self._how.masses) for each in copies] for copies in rows)
        how = self._how
        found = [coupled(*each, how.solver, how.entropy) for each in zip(costs, masses_b, masses_a, strict=True)]
        moves = [float((one * cost).sum()) for one, cost in zip(found, costs, strict=True)]
        self.couplings[name] = torch.stack(found) if len(found) > 1 else found[0]
        self._moves[name] = moved(self._pairs[name].b, self.couplings[name], how.readers)
        self.costs[name] = sum(moves) / len(moves)

    def _of_heads(self, name: str, inside: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Two heads are as far apart as what is inside of them, brought together as cheaply as it can be."""
        euclidean = self._how.metric == "euclidean"
        solver: Solver = "exact" if self._how.solver == "sinkhorn" else self._how.solver
        metric: Metric = "squared" if euclidean else self._how.metric
        given = [rows for each in inside if (rows := self._rows(each, name))]
        if not given:
            raise _incomparable(name)
        whole = self._rows(name) if self._seen is None else None  # what heads have that has no inside of its own
        total = torch.zeros(len(given[0][0]), len(given[0][1]), dtype=torch.float64)
        if whole:
            total += distances(whole[0][0], whole[1][0], metric)
        for rows_b, rows_a in given:
            for i, one in enumerate(rows_b):
                for j, other in enumerate(rows_a):
                    cost = distances(one, other, metric)
                    mass_b, mass_a = masses(one, self._how.masses), masses(other, self._how.masses)
                    total[i, j] += len(other) * (coupled(cost, mass_b, mass_a, solver, 0) * cost).sum()
        norms = [torch.cat([rows[side].flatten(1) for rows in given], 1) for side in (0, 1)]
        mass = [masses(each, self._how.masses) for each in norms]
        return total.sqrt() if euclidean else total, mass[0], mass[1]

    def _rows(self, name: str, beside: str = "") -> tuple[Tensor, Tensor] | None:
        """[copies, units, numbers] of B, in A's widths as far as they are known, and of A."""
        if self._seen is not None:
            return self._activations(name, self._seen)
        settled, maps = {*self.couplings, beside}, self.maps()
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for key, x, y in _places(self._pairs[name]):
            if x.tensor in self._a and self._comparable(name, key, settled):
                ours.append(units(self._a[x.tensor].double(), x))
                tensor = mapped(y.tensor, self._b[y.tensor].double(), maps)
                theirs.append(units(tensor, self._sized(x, y, set(self.couplings))))
        return (torch.cat(theirs, -1), torch.cat(ours, -1)) if ours else None

    def _activations(self, name: str, seen: Seen) -> tuple[Tensor, Tensor]:
        pair = self._pairs[name]
        for which, group, values in zip(("first", "second"), pair, seen, strict=True):
            if group.name not in values:
                raise InputError(
                    f"has no activations of the {which} network", where=f"group {group.name}", hint=_RECORD
                )
        ours, theirs = (
            values[group.name].double().reshape(len(values[group.name]), -1, group.size).movedim(0, -1)
            for group, values in zip(pair, seen, strict=True)
        )
        if ours.shape[-1] != theirs.shape[-1]:
            text = f"has {ours.shape[-1]} samples of the first network and {theirs.shape[-1]} of the second"
            raise InputError(text, where=f"group {name}", hint=_RECORD)
        place = pair.b.places[0]
        counts = [place.sizes[f] if d == place.dim else self._b[place.tensor].shape[d] for d, f in place.over]
        if counts:
            theirs = theirs.unflatten(0, counts)
        for axis, (dim, factor) in enumerate(place.over):
            owner = self._owners.get((place.tensor, dim, factor), "")
            if owner in self.couplings:
                write, _ = shares(self.couplings[owner])
                theirs = torch.einsum("ab,b...->a...", write, theirs.movedim(axis, 0)).movedim(0, axis)
        return theirs.flatten(0, -3), ours

    def _comparable(self, name: str, key: Key, settled: set[str]) -> bool:
        """Whether all else that lies on the tensor is in A's widths and order; never if the group is there twice."""
        others = [self._owners[other] for other in self._on[key[0]] if other != key]
        return name not in others and settled.issuperset(others)

    def _counted_by(self, name: str) -> list[str]:
        """The groups whose units count the copies of this one."""
        place = self._pairs[name].a.places[0]
        keys = [(place.tensor, dim, factor) for dim, factor in place.over]
        return [self._owners[key] for key in keys if key in self._owners]

    def _inside(self, name: str) -> list[str]:
        """The groups of which each unit of this one has a copy."""
        return [each for each in self._pairs if self._counted_by(each) == [name]]

    def _sized(self, ours: Place, theirs: Place, done: set[str]) -> Place:
        """The place in B, once the groups that are done have A's sizes."""
        sizes = tuple(
            x if self._owners.get((ours.tensor, ours.dim, factor)) in done else y
            for factor, (x, y) in enumerate(zip(ours.sizes, theirs.sizes, strict=True))
        )
        return theirs._replace(sizes=sizes)
