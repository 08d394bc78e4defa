"""The report's drawings as SVG text. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from ligate.bench.conflict import Conflict
from ligate.bench.demo.exam import RESOLVED, Difference
from ligate.bench.demo.study import Curve
from ligate.bench.words import points, signed

Scale = Callable[[float], float]


def curve(drawn: Curve, tasks: Sequence[str], low: float, high: float) -> str:
    """Accuracy over the coefficient: a line per task, a thick one for their mean, a mark at the chosen value."""
    width, height, left, right, top, bottom = 470, 270, 38, 16, 18, 40
    x = _linear(min(drawn.values), max(drawn.values), left, width - right)
    y = _linear(low, high, height - bottom, top)
    parts = [*_y_axis(y, _ticks(low, high, 10), left, width - right, "{:.0f} %")]
    for value in drawn.values:
        parts.append(_text(x(value), height - bottom + 18, f"{value:g}", "middle"))
    parts.append(_text((left + width - right) / 2, height - 4, drawn.coefficient, "middle"))
    parts.append(_line(x(drawn.best), top, x(drawn.best), height - bottom, "chosen"))
    for number, task in enumerate(tasks):
        line = [(x(v), y(100 * scores[number])) for v, scores in zip(drawn.values, drawn.scores, strict=True)]
        parts.append(_path(line, f"line {task}"))
    parts.append(_path([(x(v), y(100 * m)) for v, m in zip(drawn.values, drawn.means, strict=True)], "line mean"))
    best = max(drawn.means)
    parts.append(f'<circle class="dot" cx="{x(drawn.best):.1f}" cy="{y(100 * best):.1f}" r="5"/>')
    beside = drawn.best < (min(drawn.values) + max(drawn.values)) / 2
    shift, anchor = (9, "strong") if beside else (-9, "strong end")
    parts.append(
        _text(x(drawn.best) + shift, top + 4, f"{drawn.coefficient} {drawn.best:g}: {100 * best:.1f} %", anchor)
    )
    return _svg(width, height, parts, f"Validation accuracy of {drawn.title} over {drawn.coefficient}")


def forest(rows: Sequence[tuple[str, Difference]], against: str) -> str:
    """One dot per model at its difference to a reference, with whiskers of two standard errors."""
    left, right, top, step, width = 190, 150, 14, 34, 980
    height = top + step * len(rows) + 44
    reach = max(abs(d.points) + RESOLVED * d.error for _, d in rows)
    lows = min(-1.0, *(d.points - RESOLVED * d.error for _, d in rows))
    x = _linear(lows - 0.05 * reach, max(1.0, reach * 1.05), left, width - right)
    bottom = height - 38
    parts: list[str] = []
    for tick in _ticks(lows, reach, 5 if reach < 30 else 10):
        parts.append(_line(x(tick), top - 6, x(tick), bottom, "axis" if tick == 0 else "grid"))
        parts.append(_text(x(tick), bottom + 18, signed(tick), "middle"))
    parts.append(_text(x(0), bottom + 36, f"points of accuracy above or below {against}", "middle"))
    for number, (title, difference) in enumerate(rows):
        parts += _whisker(title, difference, x, top + step * number + step / 2 - 4, left, width)
    return _svg(width, height, parts, f"Differences to {against} with two standard errors")


def layers(found: Sequence[Conflict]) -> str:
    """Bars of the opposed share by layer, a mark on each where coin flips would put it."""
    width, height, left, right, top, bottom = 980, 270, 44, 16, 14, 36
    names = list(dict.fromkeys(one.layer for one in found))
    y = _linear(0, 75, height - bottom, top)
    room = (width - left - right) / max(len(names), 1)
    parts = [*_y_axis(y, (0, 25, 50, 75), left, width - right, "{:.0f} %")]
    for index, name in enumerate(names):
        here = [one for one in found if one.layer == name]
        bar = min(44.0, 0.72 * room / 2)
        start = left + room * (index + 0.5) - bar * len(here) / 2
        parts.append(_text(left + room * (index + 0.5), height - 12, name, "middle"))
        for place, one in enumerate(here):
            parts += _bar(one, start + place * bar, bar, y)
    return _svg(width, height, parts, "Sign conflict by layer")


def _bar(one: Conflict, at: float, wide: float, y: Scale) -> Iterator[str]:
    kind = {"attention": "attention", "feed-forward": "feed"}.get(one.part, "whole")
    top, floor = y(100 * one.opposed), y(0)
    told = f"{one.layer} {one.part}: {100 * one.opposed:.1f} % opposed, {100 * one.chance:.1f} % by chance"
    place = f'x="{at + 1.5:.1f}" y="{top:.1f}" width="{wide - 3:.1f}" height="{floor - top:.1f}" rx="2"'
    yield f'<rect class="{kind}" {place}><title>{escape(told)}; {one.shared:,} weights</title></rect>'
    yield _line(at - 1, y(100 * one.chance), at + wide + 1, y(100 * one.chance), "chance")
    yield _text(at + wide / 2, floor - 9, f"{100 * one.opposed:.0f} %", f"middle on-{kind}")


def _whisker(title: str, difference: Difference, x: Scale, y: float, left: float, width: float) -> Iterator[str]:
    kind = "" if difference.resolved else "open "
    low, high = (x(difference.points + sign * RESOLVED * difference.error) for sign in (-1, 1))
    yield _text(left - 14, y + 4, title, "strong end")
    yield _line(low, y, high, y, f"{kind}whisker")
    yield f'<circle class="{kind}point" cx="{x(difference.points):.1f}" cy="{y:.1f}" r="5.5"/>'
    told = points(difference)
    yield _text(width - 4, y + 4, told if difference.resolved else f"{told}  not resolved", "end")


def _y_axis(y: Scale, ticks: Sequence[float], left: float, right: float, form: str) -> Iterator[str]:
    for tick in ticks:
        yield _line(left, y(tick), right, y(tick), "grid")
        yield _text(left - 7, y(tick) + 4, form.format(tick), "end")


def _linear(low: float, high: float, start: float, stop: float) -> Scale:
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _ticks(low: float, high: float, step: int) -> list[float]:
    first = int(-(-low // step))
    return [float(n * step) for n in range(first, int(high // step) + 1)]


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(width: int, height: float, parts: Sequence[str], title: str) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">{inside}</svg>'
