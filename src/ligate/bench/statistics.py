"""Means with 95 % intervals, and paired differences, over questions and seeds.

Every row answers the same questions, so differences are taken question by question. With m the mean over tasks of the
mean over questions, averaged over S seeds, the variance of m has two parts, added up:

    questions  G/(G-1) sum_g u_g^2, u_g the sum over the questions of source g of (x - task mean) / (N_task T), x being
               a question's mean over the seeds: questions of one source, in whatever task, are one draw
    seeds      the variance of the seeds' means over S: other seeds train on other data in another order

The interval is Student's, with the degrees of freedom of Welch and Satterthwaite. What seeds and questions do together
is in both parts, so the interval is a little too wide rather than too narrow. One seed says nothing about training:
its interval is about the questions alone.

Two or three seeds say little of a variance, but all R rows were measured under them. What is left of a row's score in
a seed when the row's mean and the seed's mean are taken off has (R-1)(S-1) degrees of freedom, and a difference of two
rows twice its variance if all rows are alike. They are not quite: so the larger of this and of the pair's own is taken.
Over rows of several kinds such intervals held the truth in 92 to 96 of a hundred simulated cases, those of the pair's
own variance from two seeds in 89 to 92, at two to four times the width.

"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 0.95

Values = Mapping[str, "Tensor"]


class Estimate(NamedTuple):
    """A mean with its standard error and the ends of its 95 % interval."""

    mean: float
    error: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Zero is outside of the interval: for a difference, that it is none of chance."""
        return self.error > 0 and (self.low > 0 or self.high < 0)

    def scaled(self, factor: float) -> Estimate:
        low, high = sorted((factor * self.low, factor * self.high))
        return Estimate(factor * self.mean, abs(factor) * self.error, low, high)


class Pooled(NamedTuple):
    """The variance that seeds bring to the score of one row, beyond what they bring to all; estimated from many."""

    variance: float
    freedom: int


def pooled(scores: Sequence[Sequence[float]]) -> Pooled | None:
    """From each row's score in each seed: of rows plus seeds, the residual. None where one row or seed says nothing.

    >>> pooled([[0, 4], [2, 2]])  # residuals of 1 and -1
    Pooled(variance=4.0, freedom=1)
    """
    import torch

    table = torch.tensor(scores, dtype=torch.float64)
    freedom = math.prod(count - 1 for count in table.shape)
    if not table.numel() or freedom < 1:
        return None
    rest = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    return Pooled(float(rest.square().sum()) / freedom, freedom)


def means(values: Values) -> dict[str, float]:
    """The score of each task."""
    return {task: float(each.double().mean()) for task, each in values.items()}


def estimate(seeds: Sequence[Values], sources: Values) -> Estimate:
    """Of the mean over tasks. One mapping per seed, all with the same questions.

    >>> import torch
    >>> told = estimate([{"a": torch.tensor([1.0, 1.0, 0.0, 0.0])}], {"a": torch.arange(4)})
    >>> f"{told.mean:.2f} {told.error:.3f}"
    '0.50 0.289'
    """
    return _estimate(seeds, sources, None)


def difference(
    seeds: Sequence[Values], others: Sequence[Values], sources: Values, shared: Pooled | None = None
) -> Estimate:
    """Of the first minus the second, question by question and seed by seed. `shared` is of the rows they are among."""
    apart = [
        {task: one[task].double() - other[task].double() for task in sources}
        for one, other in zip(seeds, others, strict=True)
    ]
    unmoved = all(each[task].equal(apart[0][task]) for each in apart for task in sources)
    return _estimate(apart, sources, None if unmoved else shared)


def _estimate(seeds: Sequence[Values], sources: Values, shared: Pooled | None) -> Estimate:
    import torch

    each = [sum(means(values).values()) / len(values) for values in seeds]
    mean = sum(each) / len(each)
    groups = 1 + max(int(source.max()) for source in sources.values())
    pull = torch.zeros(groups, dtype=torch.float64)
    seen = torch.zeros(groups, dtype=torch.bool)
    for task, source in sources.items():
        x = torch.stack([values[task].double() for values in seeds]).mean(0)
        pull.index_add_(0, source, (x - x.mean()) / (len(x) * len(sources)))
        seen[source] = True
    count = int(seen.sum())
    by_questions = float(pull.square().sum()) * count / max(count - 1, 1)
    by_seeds, freedom = _between(each, shared)
    return _interval(mean, (by_questions, count - 1), (by_seeds / len(each), freedom))


def _between(each: Sequence[float], shared: Pooled | None) -> tuple[float, int]:
    """The variance over seeds of a number, and its degrees of freedom."""
    if len(each) < 2:
        return 0.0, 0
    mean = sum(each) / len(each)
    own = sum((one - mean) ** 2 for one in each) / (len(each) - 1)
    if shared is None or shared.freedom < len(each):
        return own, len(each) - 1
    return max(own, 2 * shared.variance), shared.freedom


def apart(one: Estimate, other: Estimate) -> Estimate:
    """The first minus the second when their questions or seeds differ, so that nothing can be paired.

    The distances to the two nearer ends of the intervals are added as squares (Zou and Donner 2008), which for
    estimates that share some of their luck is too wide rather than too narrow.
    """
    mean = one.mean - other.mean
    low = mean - math.hypot(one.mean - one.low, other.high - other.mean)
    high = mean + math.hypot(one.high - one.mean, other.mean - other.low)
    return Estimate(mean, math.hypot(one.error, other.error), low, high)


def _interval(mean: float, *parts: tuple[float, int]) -> Estimate:
    from scipy.special import stdtrit

    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return Estimate(mean, 0.0, mean, mean)
    freedom = variance**2 / sum(part**2 / max(each, 1) for part, each in parts if part > 0)
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(variance)
    return Estimate(mean, math.sqrt(variance), mean - reach, mean + reach)
