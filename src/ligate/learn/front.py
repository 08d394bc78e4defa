"""What several goals agree on: the front of the trials that no other trial beats in everything, and its knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """A number that is to be large, or small."""

    name: str
    higher: bool = True

    def gain(self, values: Mapping[str, float]) -> float:
        """More is better."""
        return values[self.name] if self.higher else -values[self.name]


def front(told: Sequence[Mapping[str, float]], goals: Sequence[Goal]) -> list[int]:
    """Places of those that no other beats: as good in every goal and better in one. Of equals the first stands.

    >>> front([{"a": 1, "b": 3}, {"a": 2, "b": 2}, {"a": 1, "b": 2}, {"a": 2, "b": 2}], [Goal("a"), Goal("b")])
    [0, 1]
    """
    gains = [tuple(goal.gain(values) for goal in goals) for values in told]
    first = {gain: place for place, gain in reversed(list(enumerate(gains)))}
    return sorted(place for gain, place in first.items() if not any(_beats(other, gain) for other in first))


def knee(told: Sequence[Mapping[str, float]], goals: Sequence[Goal]) -> int:
    """The place of the point of a front nearest to the best of every goal at once.

    Each goal counts by its range on the front; of equals the first.

    >>> knee([{"a": 0, "b": 10}, {"a": 8, "b": 9}, {"a": 10, "b": 0}], [Goal("a"), Goal("b")])
    1
    """
    gains = [[goal.gain(values) for goal in goals] for values in told]
    ends = [(min(column), max(column)) for column in zip(*gains, strict=True)]

    def distance(place: int) -> float:
        lost = [(high - gain) / ((high - low) or 1.0) for gain, (low, high) in zip(gains[place], ends, strict=True)]
        return math.hypot(*lost)

    return min(range(len(gains)), key=lambda place: (distance(place), place))


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
