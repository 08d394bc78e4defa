"""How the demo says numbers, in the terminal and on the page alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ligate.bench.demo.exam import Difference


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def points(difference: Difference) -> str:
    """`+3.1 ± 0.8`, in points of accuracy with one standard error."""
    return f"{signed(difference.points, 1)} ± {difference.error:.1f}"


def signed(value: float, digits: int = 0) -> str:
    """With a plus or a true minus; a value that rounds to zero has none.

    >>> signed(2.34, 1), signed(-5), signed(-0.01, 1)
    ('+2.3', '−5', '0.0')
    """
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return f"+{text}" if value > 0 else f"−{text}"


def seconds(value: float) -> str:
    """`3.1 ms`, `0.42 s`, `12 s`, `3 min 05 s`."""
    if value < 0.0095:
        return f"{1000 * value:.2g} ms"
    if value < 9.95:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    if value < 119.5:
        return f"{value:.0f} s"
    return f"{round(value) // 60} min {round(value) % 60:02d} s"


def megabytes(nbytes: int | None) -> str:
    return "not told" if nbytes is None else f"{nbytes / 1e6:.0f} MB"


def listed(names: list[str]) -> str:
    """`a, b and c`"""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"
