"""The nearest known name, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 20


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'density'?`, or the list of known names when nothing is near."""
    choices = sorted(known)
    close = [one for one in choices if one.casefold() == name.casefold()]  # TIES for ties shares no letter with it
    close = close or difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(choices) - _SHOWN:,} more" if len(choices) > _SHOWN else ""
    return f"known: {', '.join(choices[:_SHOWN])}{more}" if choices else "nothing is known here"
