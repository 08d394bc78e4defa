"""Ligate: many trained models in, one model out.

Each name is loaded when it is first used: `import ligate` costs nothing and loads no torch.

>>> import ligate
>>> ligate.card("ties").title
'TIES'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ligate.core.version import __version__

if TYPE_CHECKING:
    from ligate import methods
    from ligate.core.errors import (
        InputError,
        LigateError,
        NonFiniteError,
        Problems,
        RecipeError,
        StorageError,
        VerifyError,
    )
    from ligate.core.method import method
    from ligate.verbs.align import align_models
    from ligate.verbs.check import check
    from ligate.verbs.diff import diff
    from ligate.verbs.explain import explain
    from ligate.verbs.extend import extend
    from ligate.verbs.extract_lora import extract_lora
    from ligate.verbs.init import init
    from ligate.verbs.inspect import inspect
    from ligate.verbs.judging import Judge
    from ligate.verbs.load import load
    from ligate.verbs.lock import lock, unlock
    from ligate.verbs.lock_signs import check_lock
    from ligate.verbs.lock_undo import undo_lock
    from ligate.verbs.merge import merge, resume
    from ligate.verbs.methods import card, cards
    from ligate.verbs.mixture import moe
    from ligate.verbs.replay import replay
    from ligate.verbs.scan import scan
    from ligate.verbs.search import search
    from ligate.verbs.state_dicts import merge_modules, merge_state_dicts
    from ligate.verbs.trace import trace_child, trace_tree
    from ligate.verbs.verify import verify

_HOMES = {
    "core.errors": (
        "InputError",
        "LigateError",
        "NonFiniteError",
        "Problems",
        "RecipeError",
        "StorageError",
        "VerifyError",
    ),
    "core.method": ("method",),
    "verbs.align": ("align_models",),
    "verbs.check": ("check",),
    "verbs.diff": ("diff",),
    "verbs.explain": ("explain",),
    "verbs.extend": ("extend",),
    "verbs.extract_lora": ("extract_lora",),
    "verbs.init": ("init",),
    "verbs.inspect": ("inspect",),
    "verbs.judging": ("Judge",),
    "verbs.load": ("load",),
    "verbs.lock": ("lock", "unlock"),
    "verbs.lock_signs": ("check_lock",),
    "verbs.lock_undo": ("undo_lock",),
    "verbs.merge": ("merge", "resume"),
    "verbs.methods": ("card", "cards"),
    "verbs.mixture": ("moe",),
    "verbs.replay": ("replay",),
    "verbs.scan": ("scan",),
    "verbs.search": ("search",),
    "verbs.state_dicts": ("merge_modules", "merge_state_dicts"),
    "verbs.trace": ("trace_child", "trace_tree"),
    "verbs.verify": ("verify",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "InputError",
    "Judge",
    "LigateError",
    "NonFiniteError",
    "Problems",
    "RecipeError",
    "StorageError",
    "VerifyError",
    "__version__",
    "align_models",
    "card",
    "cards",
    "check",
    "check_lock",
    "diff",
    "explain",
    "extend",
    "extract_lora",
    "init",
    "inspect",
    "load",
    "lock",
    "merge",
    "merge_modules",
    "merge_state_dicts",
    "method",
    "methods",
    "moe",
    "replay",
    "resume",
    "scan",
    "search",
    "trace_child",
    "trace_tree",
    "undo_lock",
    "unlock",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "methods":  # the room of the rules themselves: `ligate.methods.merge.ties`
        return importlib.import_module("ligate.methods")
    if name not in _HOME:
        raise AttributeError(f"module 'ligate' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ligate.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
