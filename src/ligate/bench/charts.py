"""The report's drawings as SVG text. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from ligate.bench.conflict import Conflict
from ligate.bench.demo.exam import RESOLVED, Difference
from ligate.bench.demo.study import Curve
from ligate.bench.words import points, signed
from ligate.verbs import svg


def curve(drawn: Curve, tasks: Sequence[str], low: float, high: float) -> str:
    """Accuracy over the coefficient: a line per task, a thick one for their mean, a mark at the chosen value."""
    width, height, left, right, top, bottom = 470, 270, 38, 16, 18, 40
    x = svg.linear(min(drawn.values), max(drawn.values), left, width - right)
    y = svg.linear(low, high, height - bottom, top)
    parts = [*svg.y_axis(y, svg.ticks(low, high, 10), left, width - right, "{:.0f} %")]
    for value in drawn.values:
        parts.append(svg.text(x(value), height - bottom + 18, f"{value:g}", "middle"))
    parts.append(svg.text((left + width - right) / 2, height - 4, drawn.coefficient, "middle"))
    parts.append(svg.line(x(drawn.best), top, x(drawn.best), height - bottom, "chosen"))
    for number, task in enumerate(tasks):
        line = [(x(v), y(100 * scores[number])) for v, scores in zip(drawn.values, drawn.scores, strict=True)]
        parts.append(svg.path(line, f"line {task}"))
    parts.append(svg.path([(x(v), y(100 * m)) for v, m in zip(drawn.values, drawn.means, strict=True)], "line mean"))
    best = max(drawn.means)
    parts.append(f'<circle class="dot" cx="{x(drawn.best):.1f}" cy="{y(100 * best):.1f}" r="5"/>')
    beside = drawn.best < (min(drawn.values) + max(drawn.values)) / 2
    shift, anchor = (9, "strong") if beside else (-9, "strong end")
    parts.append(
        svg.text(x(drawn.best) + shift, top + 4, f"{drawn.coefficient} {drawn.best:g}: {100 * best:.1f} %", anchor)
    )
    return svg.drawing(width, height, parts, f"Validation accuracy of {drawn.title} over {drawn.coefficient}")


def forest(rows: Sequence[tuple[str, Difference]], against: str) -> str:
    """One dot per model at its difference to a reference, with whiskers of two standard errors."""
    left, right, top, step, width = 190, 150, 14, 34, 980
    height = top + step * len(rows) + 44
    reach = max(abs(d.points) + RESOLVED * d.error for _, d in rows)
    lows = min(-1.0, *(d.points - RESOLVED * d.error for _, d in rows))
    x = svg.linear(lows - 0.05 * reach, max(1.0, reach * 1.05), left, width - right)
    bottom = height - 38
    parts: list[str] = []
    for tick in svg.ticks(lows, reach, 5 if reach < 30 else 10):
        parts.append(svg.line(x(tick), top - 6, x(tick), bottom, "axis" if tick == 0 else "grid"))
        parts.append(svg.text(x(tick), bottom + 18, signed(tick), "middle"))
    parts.append(svg.text(x(0), bottom + 36, f"points of accuracy above or below {against}", "middle"))
    for number, (title, difference) in enumerate(rows):
        parts += _whisker(title, difference, x, top + step * number + step / 2 - 4, left, width)
    return svg.drawing(width, height, parts, f"Differences to {against} with two standard errors")


def layers(found: Sequence[Conflict]) -> str:
    """Bars of the opposed share by layer, a mark on each where coin flips would put it."""
    width, height, left, right, top, bottom = 980, 270, 44, 16, 14, 36
    names = list(dict.fromkeys(one.layer for one in found))
    most = max(75, *(25 * math.ceil(4 * share) for one in found for share in (one.opposed, one.chance)))
    y = svg.linear(0, most, height - bottom, top)
    room = (width - left - right) / max(len(names), 1)
    parts = [*svg.y_axis(y, svg.ticks(0, most, 25), left, width - right, "{:.0f} %")]
    for index, name in enumerate(names):
        here = [one for one in found if one.layer == name]
        bar = min(44.0, 0.72 * room / 2)
        start = left + room * (index + 0.5) - bar * len(here) / 2
        parts.append(svg.text(left + room * (index + 0.5), height - 12, name, "middle"))
        for place, one in enumerate(here):
            parts += _bar(one, start + place * bar, bar, y)
    return svg.drawing(width, height, parts, "Sign conflict by layer")


def _bar(one: Conflict, at: float, wide: float, y: svg.Scale) -> Iterator[str]:
    kind = {"attention": "attention", "feed-forward": "feed"}.get(one.part, "whole")
    top, floor = y(100 * one.opposed), y(0)
    told = f"{one.layer} {one.part}: {100 * one.opposed:.1f} % opposed, {100 * one.chance:.1f} % by chance"
    place = f'x="{at + 1.5:.1f}" y="{top:.1f}" width="{wide - 3:.1f}" height="{floor - top:.1f}" rx="2"'
    yield f'<rect class="{kind}" {place}><title>{escape(told)}; {one.shared:,} weights</title></rect>'
    yield svg.line(at - 1, y(100 * one.chance), at + wide + 1, y(100 * one.chance), "chance")
    yield svg.text(at + wide / 2, floor - 9, f"{100 * one.opposed:.0f} %", f"middle on-{kind}")


def _whisker(title: str, difference: Difference, x: svg.Scale, y: float, left: float, width: float) -> Iterator[str]:
    kind = "" if difference.resolved else "open "
    low, high = (x(difference.points + sign * RESOLVED * difference.error) for sign in (-1, 1))
    yield svg.text(left - 14, y + 4, title, "strong end")
    yield svg.line(low, y, high, y, f"{kind}whisker")
    yield f'<circle class="{kind}point" cx="{x(difference.points):.1f}" cy="{y:.1f}" r="5.5"/>'
    told = points(difference)
    yield svg.text(width - 4, y + 4, told if difference.resolved else f"{told}  not resolved", "end")
