"""Ligate: many trained models in, one model out.

>>> import ligate
>>> report = ligate.merge("recipe.yaml", "out")  # doctest: +SKIP
>>> ligate.verify("out")  # doctest: +SKIP

Each name below is loaded when it is first used, so that `import ligate` costs nothing and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ligate.core.version import __version__

if TYPE_CHECKING:
    from ligate.core.errors import LigateError
    from ligate.verbs.diff import diff
    from ligate.verbs.inspect import inspect
    from ligate.verbs.methods import card, cards

_HOME = {
    "LigateError": "ligate.core.errors",
    "card": "ligate.verbs.methods",
    "cards": "ligate.verbs.methods",
    "diff": "ligate.verbs.diff",
    "inspect": "ligate.verbs.inspect",
}

__all__ = ["LigateError", "__version__", "card", "cards", "diff", "inspect"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ligate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
