r"""Who is next to whom, and which end is older: a tree of the models that were trained, once for every possible root.

Merges and copies hang where they were found to belong; what is left to decide is the parent of every trained model. A
distance has no direction, but three models have: the angle between two changes, seen from the model in the middle.
Children of one parent lean a little the same way (all of them learn what the parent lacked). A child of a child does
not lean back to where its parent came from; it goes on, if anything. So a tree is worth

    - k sum over edges of what the change costs       (making.py: nats per element)
    + sum over pairs of edges at a model of log p(cosine | both children)   or   log p(cosine | parent and child)

each density relative to that of any two edges. The base of a task arithmetic came before what was added to it. A climb
from the shortest tree finds a tree for every root. Hubs are likelier roots than leaves: from a root the tree can have
grown, model by model, in a number of orders proportional to prod 1 / (how many descend from it, itself included) over
models (rumour centrality, Shah and Zaman, arXiv 0909.4370). Worth plus the logarithm of that is a posterior over
roots, and an edge is as sure to point its way as the roots on its side are together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Means and spreads of cosines at a parent and in a chain, and k: from families that the benchmark does not score.
_SIBLINGS, _CHAIN, _ANY = (0.15, 0.16), (-0.065, 0.18), (0.05, 0.26)
_COST = 6.0  # k
_FARTHEST = 3.0  # spreads: what is farther off tells no more
_AGAINST = 4.0  # nats: a base that does not come before what was added to it
_BACK = (-0.1, 0.2)  # the cosine from which on a way leads back, and its spread
_BACK_MOST = 4.0  # nats
_MISSING = 0.38  # median cosine of those around a model, from which on their common parent may be absent
_TEMPER = 0.5  # of the posterior: angles at one model are not independent of each other
_ROOTS = 8
_TRIED = 8  # parents of each model


class Fixed(NamedTuple):
    """A merge or a copy: what it was made from, and the base that a merge was seen from."""

    parents: tuple[int, ...]
    base: int | None = None


@dataclass(frozen=True)
class Branching:
    """The best tree and what its directions are worth.

    Args:
        root: the model that all trained ones descend from.
        parents: trained model -> parent.
        roots: model -> probability that it is the root.
        forward: trained model -> probability that it descends from its parent, not its parent from it.
        margins: trained model -> by how many nats its parent is better than the next possible one.
        absent: models whose children may be their siblings, of a parent that is not here.
    """

    root: int
    parents: Mapping[int, int]
    roots: Mapping[int, float]
    forward: Mapping[int, float]
    margins: Mapping[int, float]
    absent: frozenset[int]


class _Tree:
    """Parents of trained models under one root, and their worth."""

    def __init__(self, problem: _Problem, root: int, *, patient: bool) -> None:
        self.problem, self.root = problem, root
        self.parents = problem.shortest(root, patient=patient)
        self.children: dict[int, set[int]] = {}
        for child, parent in self.parents.items():
            self.children.setdefault(parent, set()).add(child)
        self.worth = self._worth()

    def climb(self) -> None:
        """The best move of every model in turn, until none helps."""
        moved = True
        while moved:
            moved = False
            for child in self.parents:
                best = max(self.moves(child), key=lambda move: move[0], default=(0.0, -1))
                if best[0] > 1e-9:
                    self._move(child, best[1])
                    self.worth += best[0]
                    moved = True

    def moves(self, child: int) -> list[tuple[float, int]]:
        """(gain, parent) of every other parent that the child could have."""
        old, found = self.parents[child], list[tuple[float, int]]()
        for parent in self.problem.near(child):
            if parent != old and not self.below(parent, child):
                around = {old, parent, child}
                before = sum(map(self._at, around)) - _COST * self.problem.costs[child, old] + self._whole()
                self._move(child, parent)
                after = sum(map(self._at, around)) - _COST * self.problem.costs[child, parent] + self._whole()
                self._move(child, old)
                found.append((after - before, parent))
        return found

    def origins(self, model: int) -> list[int]:
        """What a model was made from, trained or not."""
        fixed = self.problem.fixed.get(model)
        return list(fixed.parents) if fixed else [self.parents[model]] if model in self.parents else []

    def below(self, model: int, ancestor: int) -> bool:
        return model == ancestor or any(self.below(one, ancestor) for one in self.origins(model))

    def _move(self, child: int, parent: int) -> None:
        self.children[self.parents[child]].discard(child)
        self.children.setdefault(parent, set()).add(child)
        self.parents[child] = parent

    def _worth(self) -> float:
        cost = sum(self.problem.costs[child, parent] for child, parent in self.parents.items())
        return sum(map(self._at, self.children)) - _COST * cost + self._whole()

    def _at(self, model: int) -> float:
        """All angles at one model; one that was made from several counts each of them by its share."""
        kids = sorted(self.children.get(model, ()))
        cosine = self.problem.cosines[model]
        total = sum(_told(cosine[x, y], _SIBLINGS) for number, x in enumerate(kids) for y in kids[number + 1 :])
        origins = self.origins(model)
        return total + sum(_told(cosine[one, kid], _CHAIN) for one in origins for kid in kids) / max(1, len(origins))

    def _whole(self) -> float:
        """What depends on more than the edges at one model: bases that come too late."""
        wrong = 0
        for each in self.problem.fixed.values():
            if each.base is not None:
                wrong += sum(not self.below(parent, each.base) for parent in each.parents)
        return -_AGAINST * wrong

    def orders(self) -> float:
        """log of the number of orders in which the trained models can have come; through merges from their first."""
        above = {one: self.problem.fixed[one].parents[0] for one in self.problem.fixed} | self.parents
        sizes = dict.fromkeys(self.problem.trained, 1)
        for model in self.problem.trained:
            one = model
            while one in above:
                one = above[one]
                if one in sizes:
                    sizes[one] += 1
        return -float(np.log(list(sizes.values())).sum())


class _Problem:
    def __init__(
        self,
        squared: NDArray[np.float64],
        costs: NDArray[np.float64],
        fixed: Mapping[int, Fixed],
        barren: frozenset[int],
    ) -> None:
        self.fixed, self.barren = fixed, barren
        self._all = range(len(squared))
        self.trained = [model for model in self._all if model not in fixed]
        self.cosines = _cosines(squared)
        costs = self.costs = costs + _ways_back(self.cosines, fixed) / _COST
        self._near = {
            child: [one for one in np.argsort(costs[child], kind="stable").tolist() if one not in {child, *barren}][
                : 2 * _TRIED
            ]
            for child in self.trained
        }

    def near(self, child: int) -> list[int]:
        """Parents to try: not what was made from the child directly."""
        own = [one for one in self._near[child] if child not in self.fixed.get(one, Fixed(())).parents]
        return own[:_TRIED]

    def shortest(self, root: int, *, patient: bool) -> dict[int, int]:
        """Prim's tree from a root; merges and copies join when all that they were made from has.

        Patient: a model joins not when it is near, but when it has little nearer to wait for, such as a merge.
        """
        waits = np.array([self.costs[one, self._near[one][0]] if self._near.get(one) else 0.0 for one in self._all])
        reached, parents = {root}, dict[int, int]()
        waiting = [model for model in self.trained if model != root]
        while True:
            self._join(reached)
            if not waiting:
                return parents
            known = sorted(reached - self.barren)
            table = self.costs[np.ix_(waiting, known)] - (waits[waiting, None] if patient else 0.0)
            child, parent = np.unravel_index(int(np.argmin(table)), table.shape)
            parents[waiting[int(child)]] = known[int(parent)]
            reached.add(waiting.pop(int(child)))

    def _join(self, reached: set[int]) -> None:
        joined = True
        while joined:
            new = {one for one, made in self.fixed.items() if one not in reached and reached.issuperset(made.parents)}
            reached |= new
            joined = bool(new)

    def central(self) -> list[int]:
        """Possible roots, the nearest to all others first."""
        possible = [one for one in self.trained if one not in self.barren] or self.trained
        return sorted(possible, key=lambda one: float(np.median(self.costs[one])))[:_ROOTS]


def branching(
    squared: NDArray[np.float64],
    costs: NDArray[np.float64],
    fixed: Mapping[int, Fixed],
    barren: frozenset[int] = frozenset(),
) -> Branching:
    """The tree of all models that are neither merges nor copies.

    Args:
        squared: [m, m] squared distances.
        costs: [m, m] nats per element.
        fixed: merges and copies.
        barren: who has no children.
    """
    problem = _Problem(squared, costs, fixed, barren)
    trees = [_climbed(problem, root) for root in problem.central()]
    worth = np.array([tree.worth + tree.orders() for tree in trees])
    best = trees[int(np.argmax(worth))]
    chance = np.exp(_TEMPER * (worth - worth.max()))
    roots = {tree.root: float(share) for tree, share in zip(trees, chance / chance.sum(), strict=True)}
    forward = {child: _forward(best, child, roots) for child in best.parents}
    margins = {child: -max((gain for gain, _ in best.moves(child)), default=-np.inf) for child in best.parents}
    return Branching(best.root, dict(best.parents), roots, forward, margins, _absent(best))


def _climbed(problem: _Problem, root: int) -> _Tree:
    """The better of two climbs: from the shortest tree, and from a patient one."""
    both = [_Tree(problem, root, patient=patient) for patient in (False, True)]
    for tree in both:
        tree.climb()
    return max(both, key=lambda tree: tree.worth)


def _absent(tree: _Tree) -> frozenset[int]:
    """Models from which those around them lie the same way.

    If p and its children come from q, which is not here, <x - p, y - p> holds |q - p|^2 for any two of them, and so it
    does with the one that p seems to come from.
    """
    found: set[int] = set()
    for model, kids in tree.children.items():
        around = [*kids, *tree.origins(model)]
        pairs = [(x, y) for x, y in combinations(around, 2) if x in kids]
        cosine = tree.problem.cosines[model]
        if model not in tree.problem.fixed and pairs and np.median([cosine[pair] for pair in pairs]) >= _MISSING:
            found.add(model)
    return frozenset(found)


def _forward(tree: _Tree, child: int, roots: Mapping[int, float]) -> float:
    """What the roots that are not below the child weigh together."""
    return sum(share for root, share in roots.items() if not tree.below(root, child))


def _cosines(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """[at, x, y] of the angle between x and y, seen from `at`; 0 where one of them is in the same place."""
    inner = (squared[:, :, None] + squared[:, None, :] - squared[None, :, :]) / 2
    length = np.sqrt(squared[:, :, None] * squared[:, None, :])
    return np.divide(inner, length, out=np.zeros_like(inner), where=length > 0)


def _ways_back(cosines: NDArray[np.float64], fixed: Mapping[int, Fixed]) -> NDArray[np.float64]:
    """[child, parent] nats against a parent that contains a part of the child, by way of a merge.

    What was merged lies near its merges and near what was made of them, nearer than to where it came from. But from
    them the way to it leads away from all that it was merged with, and no training does that.
    """
    with_it: dict[int, set[int]] = {}
    for each in fixed.values():
        for one in each.parents if len(each.parents) > 1 else ():
            with_it.setdefault(one, set()).update(each.parents)
    against = np.zeros(cosines.shape[:2])
    for child, others in with_it.items():
        lowest = cosines[:, child, sorted(others - {child})].min(1)
        off = np.maximum(0.0, _BACK[0] - lowest) / _BACK[1]
        against[child] = np.minimum(off * off / 2, _BACK_MOST)
    return against


def _told(cosine: float, of: tuple[float, float]) -> float:
    """log p(cosine | of) / p(cosine | any two edges)"""
    return _log(cosine, of) - _log(cosine, _ANY)


def _log(value: float, of: tuple[float, float]) -> float:
    off = min(abs(value - of[0]) / of[1], _FARTHEST)
    return -off * off / 2 - float(np.log(of[1]))
