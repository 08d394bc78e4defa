"""Lines, texts and axes of a drawing, as SVG text. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

Scale = Callable[[float], float]
Spot = tuple[float, float]


def linear(low: float, high: float, start: float, stop: float) -> Scale:
    """From values to places; everything stands at the start where there is but one value."""
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def ratios(low: float, high: float, start: float, stop: float) -> Scale:
    """As `linear`, with equal distances for equal ratios."""
    even = linear(math.log(low), math.log(high), start, stop)
    return lambda value: even(math.log(value))


def ticks(low: float, high: float, step: int) -> list[float]:
    """The multiples of a step within a range."""
    first = int(-(-low // step))
    return [float(n * step) for n in range(first, int(high // step) + 1)]


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten.

    >>> round_ticks(0.0, 1.0), round_ticks(51.4, 76.8)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [55.0, 60.0, 65.0, 70.0, 75.0])
    """
    span = high - low
    if span <= 0:
        return [low]
    power = math.floor(math.log10(span / most))
    steps = ((digit, exponent) for exponent in (power, power + 1) for digit in (1, 2, 5))
    for digit, exponent in steps:
        step = digit * 10.0**exponent
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(n * step, max(0, -exponent)) for n in range(first, last + 1)]
    return [low, high]


def ratio_ticks(low: float, high: float) -> list[float]:
    """Multiples of powers of ten by 1, 2 and 5.

    >>> ratio_ticks(0.05, 2.0)
    [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [tick for tick in every if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def path(spots: Sequence[Spot], kind: str) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>'


def dot(x: float, y: float, kind: str, told: str = "", radius: float = 5.0) -> str:
    """A circle; what it stands for is told to whoever points at it."""
    inside = f"<title>{escape(told)}</title>" if told else ""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{inside}</circle>'


def text(x: float, y: float, told: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(told)}</text>'


def y_axis(y: Scale, at: Sequence[float], left: float, right: float, form: str) -> Iterator[str]:
    for tick in at:
        yield line(left, y(tick), right, y(tick), "grid")
        yield text(left - 7, y(tick) + 4, form.format(tick), "end")


def drawing(width: float, height: float, parts: Sequence[str], title: str, style: str = "") -> str:
    """A part of a page; with a style sheet of its own a file that stands alone."""
    inside = "".join(parts)
    alone = ' xmlns="http://www.w3.org/2000/svg"' if style else ""
    sheet = f"<style>{escape(style, quote=False)}</style>" if style else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}"'
    return f"<svg{alone} {box}>{sheet}{inside}</svg>"


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places for labels, in the order given: near where they want to be, so far apart, and within the limits.

    >>> spread([10.0, 11.0, 50.0], 10, 0, 100)
    [5.5, 15.5, 50.0]
    """

    def first(heap: Sequence[int]) -> float:
        """Where its first label goes, if the heap's middle is where its labels want to be on average."""
        room = apart * (len(heap) - 1)
        middle = sum(wanted[index] for index in heap) / len(heap)
        return max(low, min(high - room, middle - room / 2))

    heaps: list[list[int]] = []
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        heaps.append([index])
        while len(heaps) > 1 and first(heaps[-1]) < first(heaps[-2]) + apart * len(heaps[-2]):
            heaps[-2:] = [heaps[-2] + heaps[-1]]
    return [
        place for _, place in sorted((index, first(heap) + apart * n) for heap in heaps for n, index in enumerate(heap))
    ]
