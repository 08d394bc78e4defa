"""What a search found as one self-contained picture: all trials, and the front where there are several goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ligate.learn.front import Goal
from ligate.learn.search import Found
from ligate.learn.trials import Trial
from ligate.verbs import svg

_STYLE = """
svg { font: 12px sans-serif; background: white }
.title { font-size: 15px }
.grid { stroke: #ddd } .axis { stroke: #333 }
.end { text-anchor: end } .middle { text-anchor: middle }
.trial { fill: #9aa5b1 } .front { fill: #0072b2 } .knee { fill: #d55e00 }
.best, .curve { fill: none; stroke: #0072b2; stroke-width: 1.5 }
.kneecurve { fill: none; stroke: #d55e00; stroke-width: 3 }
"""
_WIDE, _HIGH = 760.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 30.0, 44.0, 50.0


def picture(found: Found) -> str:
    """An SVG: one goal over the trials, two against each other, or more of them side by side."""
    draw = {1: _over_trials, 2: _against}.get(len(found.goals), _side_by_side)
    title = "The best so far, trial by trial" if len(found.goals) == 1 else "What no other trial beats"
    heading = svg.text(_LEFT, 22, f"{title}: {len(found.front)} of {len(found.trials)} trials", "title")
    if len(found.goals) == 1:
        heading = svg.text(_LEFT, 22, title, "title")
    return svg.drawing(_WIDE, _HIGH, [heading, *draw(found)], title, _STYLE) + "\n"


def _over_trials(found: Found) -> Iterator[str]:
    (goal,) = found.goals
    told = _succeeded(found)
    x = svg.linear(0, max(1, len(found.trials) - 1), _LEFT, _WIDE - _RIGHT)
    y, ticks = _scale(goal, told, _HIGH - _BOTTOM, _TOP)
    yield from svg.y_axis(y, ticks, _LEFT, _WIDE - _RIGHT, "{:g}")
    for tick in svg.round_ticks(0, len(found.trials) - 1, 12):
        yield svg.text(x(tick), _HIGH - _BOTTOM + 18, f"{tick:g}", "middle")
    yield svg.text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 12, f"trial; {goal.name}", "middle")
    yield svg.path([(x(trial.number), y(value)) for trial, value in _best_so_far(goal, told)], "best")
    for trial in told:
        yield _dot(found, trial, x(trial.number), y(trial.values[goal.name]))


def _best_so_far(goal: Goal, told: Sequence[Trial]) -> Iterator[tuple[Trial, float]]:
    best = told[0]
    for trial in told:
        best = max(best, trial, key=lambda one: goal.gain(one.values))
        yield trial, best.values[goal.name]


def _against(found: Found) -> Iterator[str]:
    first, second = found.goals
    told = _succeeded(found)
    x, columns = _scale(first, told, _LEFT, _WIDE - _RIGHT)
    y, rows = _scale(second, told, _HIGH - _BOTTOM, _TOP)
    yield from svg.y_axis(y, rows, _LEFT, _WIDE - _RIGHT, "{:g}")
    for tick in columns:
        yield svg.line(x(tick), _TOP, x(tick), _HIGH - _BOTTOM, "grid")
        yield svg.text(x(tick), _HIGH - _BOTTOM + 18, f"{tick:g}", "middle")
    yield svg.text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 12, first.name, "middle")
    yield svg.text(_LEFT, _TOP - 8, second.name, "middle")
    ordered = sorted(found.front, key=lambda trial: first.gain(trial.values))
    yield svg.path([(x(trial.values[first.name]), y(trial.values[second.name])) for trial in ordered], "best")
    for trial in told:
        yield _dot(found, trial, x(trial.values[first.name]), y(trial.values[second.name]))


def _side_by_side(found: Found) -> Iterator[str]:
    """An axis for each goal, the better end on top; a line for each trial of the front."""
    scales = [_scale(goal, found.front, _HIGH - _BOTTOM, _TOP) for goal in found.goals]
    x = svg.linear(0, len(found.goals) - 1, _LEFT, _WIDE - _RIGHT - 40)
    for place, (goal, (y, ticks)) in enumerate(zip(found.goals, scales, strict=True)):
        yield svg.line(x(place), _TOP, x(place), _HIGH - _BOTTOM, "axis")
        for tick in ticks:
            yield svg.text(x(place) - 6, y(tick) + 4, f"{tick:g}", "end")
        yield svg.text(x(place), _HIGH - _BOTTOM + 22, goal.name, "middle")
    for trial in sorted(found.front, key=lambda trial: trial is found.best):  # the knee on top
        spots = [
            (x(place), y(trial.values[goal.name]))
            for place, (goal, (y, _)) in enumerate(zip(found.goals, scales, strict=True))
        ]
        yield svg.path(spots, "kneecurve" if trial is found.best else "curve")
        for spot in spots:
            yield _dot(found, trial, *spot)


def _scale(goal: Goal, told: Sequence[Trial], worst: float, best: float) -> tuple[svg.Scale, list[float]]:
    """Places of a goal's values between the two ends, and where to put its ticks."""
    values = [trial.values[goal.name] for trial in told]
    low, high = min(values), max(values)
    ends = (worst, best) if goal.higher else (best, worst)
    return svg.linear(low, high, *ends), svg.round_ticks(low, high)


def _dot(found: Found, trial: Trial, x: float, y: float) -> str:
    kind = "knee" if trial is found.best else "front" if trial in found.front else "trial"
    values = ", ".join(f"{goal.name} {trial.values[goal.name]:.4g}" for goal in found.goals)
    point = ", ".join(f"{name} {value}" for name, value in trial.point.items())
    return svg.dot(x, y, kind, f"trial {trial.number}: {values} at {point}", 3.0 if kind == "trial" else 5.0)


def _succeeded(found: Found) -> list[Trial]:
    return [trial for trial in found.trials if not trial.failed]
