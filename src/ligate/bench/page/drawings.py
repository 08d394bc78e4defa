"""Drawings of the page as SVG text. Colours and fonts come from the style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from ligate.bench import telling
from ligate.bench.results import Cell
from ligate.bench.statistics import Estimate
from ligate.bench.suite import Metric
from ligate.bench.summary import Line
from ligate.bench.words import signed
from ligate.verbs import svg

COLOURS = 8
WIDE = 1100.0


def forest(rows: Sequence[tuple[str, Estimate]], metric: Metric, against: str) -> str:
    """One dot per row at its difference to the baseline, with whiskers over its 95 % interval."""
    left, right, top, step = 250.0, 200.0, 10.0, 30.0
    bottom = top + step * len(rows)
    ends = [metric.scale * end for _, each in rows for end in (each.low, each.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    x = svg.linear(low, high, left, WIDE - right)
    parts: list[str] = []
    for tick in svg.round_ticks(low, high, 9):
        parts.append(svg.line(x(tick), top, x(tick), bottom, "axis" if tick == 0 else "grid"))
        parts.append(svg.text(x(tick), bottom + 18, signed(tick, _decimals(tick)), "middle"))
    for number, (title, each) in enumerate(rows):
        parts += _whisker(title, each, metric, x, top + step * (number + 0.5), left)
    better = "right is better" if metric.higher else "left is better"
    parts.append(
        svg.text(
            (left + WIDE - right) / 2, bottom + 40, f"{telling.points(metric)} against {against}; {better}", "middle"
        )
    )
    return svg.drawing(WIDE, bottom + 48, parts, f"Differences to {against} with 95 % intervals")


def _whisker(title: str, found: Estimate, metric: Metric, x: svg.Scale, y: float, left: float) -> Iterator[str]:
    kind = ("good" if telling.good(metric, found) else "worse") if found.resolved else "open"
    low, mean, high = (x(metric.scale * value) for value in (found.low, found.mean, found.high))
    yield svg.text(left - 16, y + 4, short(title, 36), "strong end")
    yield svg.line(low, y, high, y, f"whisker {kind}")
    yield svg.dot(mean, y, f"point {kind}", f"{title}: {telling.change(metric, found)}")
    told = telling.change(metric, found)
    yield svg.text(
        WIDE, y + 4, told if found.resolved else f"{told}, not resolved", "end" if found.resolved else "end faint"
    )


def duel(ensembles: Mapping[str, float], merges: Sequence[Line], first: Line, metric: Metric) -> str:
    """For each task the best ensemble, across, and each merge, upwards; the first merge stands out and is named."""
    size, left, right, top, bottom = 640.0, 40.0, 126.0, 18.0, 46.0
    tasks = [task for task in ensembles if task in first.scores]
    values = [metric.scale * line.scores[task] for line in merges for task in tasks if task in line.scores]
    values += [metric.scale * ensembles[task] for task in tasks]
    low, high = _room(min(values), max(values))
    x, y = svg.linear(low, high, left, size - right), svg.linear(low, high, size - right - left - top, top)
    end, floor = size - right, y(low)
    ticks = svg.round_ticks(low, high, 6)
    parts = [*svg.y_axis(y, ticks, left, end, "{:g}"), svg.line(x(low), y(low), x(high), y(high), "even")]
    parts += [svg.text(x(tick), floor + 18, f"{tick:g}", "middle") for tick in ticks]
    parts.append(svg.text((left + end) / 2, floor + 40, "best ensemble of the task", "middle"))
    parts.append(svg.text(left - 30, top - 8, "merge", ""))
    for line in merges:
        for task in tasks if line is not first else ():
            if task in line.scores:
                told = f"{line.row.title}, {task}: {telling.score(metric, line.scores[task])}"
                parts.append(
                    svg.dot(x(metric.scale * ensembles[task]), y(metric.scale * line.scores[task]), "other", told, 3.2)
                )
    spots = [(x(metric.scale * ensembles[task]), y(metric.scale * first.scores[task])) for task in tasks]
    labels = svg.spread([spot for _, spot in spots], 15, top + 6, floor - 4)
    for task, spot, label in zip(tasks, spots, labels, strict=True):
        told = f"{first.row.title}, {task}: {telling.score(metric, first.scores[task])}"
        parts.append(svg.path([(spot[0] + 6, spot[1]), (end + 4, label), (end + 10, label)], "lead"))
        parts.append(svg.dot(*spot, "point good", told) + svg.text(end + 14, label + 4, short(task, 15), "strong"))
    return svg.drawing(size, floor + bottom, parts, f"{first.row.title} against the best ensemble of each task")


def prices(lines: Sequence[Line], metric: Metric) -> str:
    """The average of every row, side by side for what is stored and how many networks an input goes through."""
    known = [line for line in lines if line.cost and line.average]
    kinds = sorted({(line.cost.parameters, line.cost.passes) for line in known if line.cost})
    left, top, height, step = 54.0, 44.0, 380.0, 15.0
    ends = [metric.scale * end for line in known if line.average for end in (line.average.low, line.average.high)]
    low, high = _room(min(ends), max(ends))
    most = max(sum(1 for line in known if line.cost and line.cost[:2] == kind) for kind in kinds)
    floor = top + max(height - top - 20, step * most)
    y = svg.linear(low, high, floor, top)
    band = (WIDE - left) / len(kinds)
    parts = [*svg.y_axis(y, svg.round_ticks(low, high, 7), left, WIDE, "{:g}")]
    for number, (parameters, passes) in enumerate(kinds):
        start = left + band * number
        here = [line for line in known if line.cost and line.cost[:2] == (parameters, passes)]
        parts.append(svg.line(start, top - 34, start, floor, "axis"))
        parts.append(svg.text(start + 12, top - 24, f"{telling.count(parameters)} parameters", "strong"))
        parts.append(
            svg.text(
                start + 12, top - 8, "one network per input" if passes == 1 else f"{passes} networks per input", ""
            )
        )
        parts += _stack(here, metric, y, start + 28, start + band, (top, floor))
    return svg.drawing(WIDE, floor + 12, parts, "Averages by stored parameters and networks per input")


def _stack(
    lines: Sequence[Line], metric: Metric, y: svg.Scale, at: float, stop: float, limits: tuple[float, float]
) -> Iterator[str]:
    """Dots with whiskers, names beside them with room for each."""
    found = [(line, line.average) for line in lines if line.average]
    labels = svg.spread([y(metric.scale * each.mean) for _, each in found], 15, *limits)
    for number, ((line, each), label) in enumerate(zip(found, labels, strict=True)):
        place, spot = at + 7 * (number % 3), y(metric.scale * each.mean)
        yield svg.path([(place, spot), (at + 30, label), (at + 36, label)], "lead")
        yield svg.line(place, y(metric.scale * each.low), place, y(metric.scale * each.high), f"thin {line.row.group}")
        yield svg.dot(place, spot, f"mark {line.row.group}", f"{line.row.title}: {telling.measured(metric, each)}", 4.2)
        told = f"{telling.score(metric, each.mean)}  {short(line.row.title, int((stop - at - 76) / 6.6))}"
        yield svg.text(at + 40, label + 4, told, f"of-{line.row.group}")


def sweep(line: Line, seeds: Sequence[int], metric: Metric, limits: tuple[float, float]) -> str:
    """Validation score over the coefficient: a line per seed, in its colour; a ring where the best ends the range."""
    width, height, left, right, top, bottom = 350.0, 230.0, 46.0, 14.0, 12.0, 38.0
    cells = [cell for cell in line.row.done if cell.curve]
    tried = sorted({point.value for cell in cells for point in cell.curve})
    wide = tried[0] > 0 and tried[-1] >= 8 * tried[0]
    scale, marks = (svg.ratios, svg.ratio_ticks) if wide else (svg.linear, svg.round_ticks)
    x, y = scale(tried[0], tried[-1], left, width - right), svg.linear(*limits, height - bottom, top)
    parts = [*svg.y_axis(y, svg.round_ticks(*limits, 5), left, width - right, "{:g}")]
    for tick in marks(tried[0], tried[-1]):
        parts.append(svg.text(x(tick), height - bottom + 17, f"{tick:g}", "middle"))
    parts.append(svg.text((left + width - right) / 2, height - 4, line.row.coefficient or "coefficient", "middle"))
    inside = [part for cell in cells for part in _curve(cell, seeds.index(cell.seed), metric, x, y)]
    box = (
        f'x="{left - 8:g}" y="{top - 8:g}" width="{width - left - right + 16:g}" height="{height - top - bottom + 8:g}"'
    )
    view = f"{left - 8:g} {top - 8:g} {width - left - right + 16:g} {height - top - bottom + 8:g}"
    parts.append(f'<svg class="window" {box} viewBox="{view}">{"".join(inside)}</svg>')
    return svg.drawing(width, height, parts, f"Validation score of {line.row.title} over its coefficient")


def _curve(cell: Cell, number: int, metric: Metric, x: svg.Scale, y: svg.Scale) -> Iterator[str]:
    spots = [(point.value, metric.scale * point.mean) for point in sorted(cell.curve, key=lambda point: point.value)]
    colour = f"c{number % COLOURS}"
    yield svg.path([(x(value), y(score)) for value, score in spots], f"line {colour}")
    for value, score in spots:
        yield svg.dot(x(value), y(score), f"tried {colour}", f"{value:g}: {score:.{telling.digits(metric)}f}", 2)
        if value == cell.chosen:
            told = f"seed {cell.seed}: {value:g}" + (", the end of the range" if cell.at_edge else "")
            yield svg.dot(x(value), y(score), f"chosen {colour}", told, 4.5)
            if cell.at_edge:
                yield svg.dot(x(value), y(score), "edge", told, 8)


def sweep_limits(lines: Sequence[Line], metric: Metric) -> tuple[float, float]:
    """One range for all sweeps. Coefficients that ruin a network are left to run out of the drawing."""
    every = [metric.scale * point.mean for line in lines for cell in line.row.done for point in cell.curve]
    best, usual = (max(every) if metric.higher else min(every)), median(every)
    far = best - 4 * (best - usual)
    low, high = (max(min(every), far), best) if metric.higher else (best, min(max(every), far))
    return _room(low, high)


def paths(by_row: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], what: str, title: str) -> str:
    """From one network to the other: a thin line per seed, a thick one for their mean, a colour per row."""
    width, height, left, right, top, bottom = 350.0, 200.0, 46.0, 14.0, 12.0, 34.0
    every = [value for seeds in by_row.values() for seed in seeds for value in seed.get(what, ())]
    if not every:
        return ""
    low, high = _room(min(0.0, *every) if what == "loss" else min(every), max(every))
    y = svg.linear(low, high, height - bottom, top)
    parts = [*svg.y_axis(y, svg.round_ticks(low, high, 5), left, width - right, "{:g}")]
    x = svg.linear(0, 1, left, width - right)
    parts += [svg.text(x(share), height - bottom + 17, f"{share:g}", "middle") for share in (0, 0.5, 1)]
    parts.append(svg.text((left + width - right) / 2, height - 2, f"{what} from the one to the other", "middle"))
    for number, seeds in enumerate(by_row.values()):
        lines = [seed[what] for seed in seeds if seed.get(what)]
        mean = [sum(values) / len(values) for values in zip(*lines, strict=True)]
        for values, kind in (*((line, "seed") for line in lines if len(lines) > 1), (mean, "line")):
            spots = [(x(index / max(1, len(values) - 1)), y(value)) for index, value in enumerate(values)]
            parts.append(svg.path(spots, f"{kind} c{number % COLOURS}"))
    return svg.drawing(width, height, parts, f"{title}: {what} between two networks")


def short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def _room(low: float, high: float) -> tuple[float, float]:
    """A little air above and below."""
    air = 0.04 * (high - low) or 0.5
    return low - air, high + air


def _decimals(tick: float) -> int:
    return max(0, len(f"{tick:g}".partition(".")[2]))
