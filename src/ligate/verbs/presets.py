"""The presets of learned merging, as values."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest


class Told(NamedTuple):
    """A preset for readers. `learns_from`: what its authors learn from; `settings`: what recipes may set otherwise."""

    id: str
    summary: str
    source: str
    learns_from: str
    doc: str
    settings: dict[str, Any]


_PLUS = "regmean_pp"


def presets() -> tuple[Told, ...]:
    """All of them, in alphabetical order."""
    from ligate.learn.presets import PRESETS

    return tuple(preset(f"learn/{name}") for name in sorted((*PRESETS, _PLUS)))


def preset(name: str) -> Told:
    """Raises RecipeError for a name that none has."""
    from ligate.learn import presets as room
    from ligate.learn.settings import settings_of

    short = name.removeprefix("learn/")
    if short == _PLUS:
        return _regmean_pp()
    if short not in room.PRESETS:
        raise RecipeError(f"there is no preset '{name}'", hint=nearest(short, room.PRESETS))
    found = room.PRESETS[short]
    doc = inspect.getdoc(room.MAKERS[short]) or ""
    summary = " ".join(doc.partition("\n\n")[0].split())
    return Told(f"learn/{short}", summary, found.source, found.inputs, doc, settings_of(found))


def _regmean_pp() -> Told:
    """Nothing is learned by it, but what `merge/regmean` is given depends on the merge itself."""
    doc = "RegMean with Gram matrices that are measured block by block in the merged network; it takes its parameters."
    return Told(f"learn/{_PLUS}", doc, "RegMean++, arXiv 2508.03121", "unlabelled", doc, {})
