"""How scores and differences of any metric are said, in the terminal and on the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ligate.bench.results import Results, Row
from ligate.bench.statistics import Estimate
from ligate.bench.suite import Metric
from ligate.bench.summary import Chosen, Line, Summary
from ligate.bench.words import listed, signed

NOT_RESOLVED = "not resolved"
MECHANICS = (
    "This suite checks that things work. Its numbers must not be used to rank methods: the networks are too small, or "
    "trained too briefly, for that."
)
CHANCE = "Each interval speaks for itself alone: where there is no difference at all, one in twenty looks resolved."


def score(metric: Metric, value: float) -> str:
    return f"{metric.scale * value:.{digits(metric)}f}"


def measured(metric: Metric, found: Estimate) -> str:
    """`68.2 ± 1.1`: half of the 95 % interval stands behind the sign."""
    return score(metric, found.mean) + reach(metric, found)


def change(metric: Metric, found: Estimate) -> str:
    """`+3.1 ± 0.8`, with half of the 95 % interval."""
    return signed(metric.scale * found.mean, digits(metric)) + reach(metric, found)


def reach(metric: Metric, found: Estimate) -> str:
    half = metric.scale * (found.high - found.low) / 2
    return f" ± {half:.{digits(metric)}f}" if found.error > 0 else ""


def digits(metric: Metric) -> int:
    return 1 if metric.scale >= 100 else 3


def heading(metric: Metric) -> str:
    """`accuracy, %` or `bits per byte, lower is better`."""
    told = [metric.name, metric.unit, "" if metric.higher else "lower is better"]
    return ", ".join(filter(None, told))


def points(metric: Metric) -> str:
    """What differences are counted in."""
    return "points" if metric.unit == "%" else metric.unit or metric.name


def good(metric: Metric, found: Estimate) -> bool:
    """A resolved change to the better."""
    return found.resolved and (found.mean > 0) == metric.higher


def further(found: Estimate) -> str:
    """A number of unknown kind, as exact as its interval allows.

    >>> further(Estimate(0.48916, 0.01, 0.46716, 0.51116)), further(Estimate(12.0, 0.0, 12.0, 12.0))
    ('0.489 ± 0.022', '12')
    """
    half = (found.high - found.low) / 2
    if not half > 0:
        return f"{found.mean:.4g}".replace("-", "−")
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{found.mean:.{decimals}f} ± {half:.{decimals}f}".replace("-", "−")


def coefficients(found: Sequence[Chosen]) -> str:
    """One value if all seeds agree, else one for each; a star marks an end of the range."""
    told = [f"{one.value:g}{'*' if one.at_edge else ''}" for one in found]
    return ", ".join(told if len(set(told)) > 1 else told[:1])


def chosen(line: Line) -> str:
    """`lambda 0.4, 0.5`; nothing where nothing was chosen."""
    return f"{line.row.coefficient} {coefficients(line.chosen)}".strip() if line.chosen else ""


def count(value: float) -> str:
    """`22.7 M`

    >>> count(22_713_216), count(9_610), count(181_705_728)
    ('22.7 M', '9.6 k', '182 M')
    """
    for power, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= power:
            return f"{value / power:.0f}{unit}" if value >= 99.95 * power else f"{value / power:.1f}{unit}"
    return f"{value:g}"


def uses(row: Row) -> str:
    return ", ".join(row.uses) or "nothing"


def seeds(numbers: Sequence[int]) -> str:
    """`seeds 0, 1 and 2`"""
    return f"seed{'s' if len(numbers) != 1 else ''} {listed([str(number) for number in numbers])}"


def questions(results: Results, paper: str) -> int:
    return sum(len(each) for each in results.papers[paper].sources.values()) if paper in results.papers else 0


def signed_points(metric: Metric, found: Estimate) -> str:
    return signed(metric.scale * found.mean, digits(metric))


def verdict(told: Summary) -> list[str]:
    """What the differences between the merges say, and what they do not say."""
    first = told.leader
    if first is None or len(told.group("merge")) < 2 or not told.results.ranks:
        return []
    lead = f"{first.row.title} came out first among the merges, and its lead over each of them is resolved."
    if told.rivals:
        names = listed([line.row.title for line in told.rivals])
        lead = f"{first.row.title} came out first among the merges, but its lead over {names} is not resolved."
    open_ = [line.row.title for line in told.group("merge") if line.against and not line.against.resolved]
    beside = f"Not resolved against {told.baseline.title}: {listed(open_)}." if told.baseline and open_ else ""
    return list(filter(None, (lead, beside, CHANCE)))


def partly(told: Summary, line: Line) -> str:
    """Which seeds a row's means are over, if not all."""
    done = [cell.seed for cell in line.row.done]
    if not done:
        return "failed on every seed" if line.failures else "not measured"
    return f"only {seeds(done)}" if len(done) < len(told.results.seeds) else ""
