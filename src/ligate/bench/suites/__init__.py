"""The suites by name. A suite's own module is imported when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest

if TYPE_CHECKING:
    from ligate.bench.results import Results
    from ligate.bench.suite import Request, Scale, Teller, Tier


class Module(Protocol):
    """What the module of a suite offers."""

    SCALES: Mapping[Tier, Scale]

    def play(self, request: Request, tell: Teller) -> Results: ...


class Entry(NamedTuple):
    """Where a suite's module lies below this folder, and what it is about."""

    module: str
    says: str


SUITES: Mapping[str, Entry] = {
    "debian4": Entry("debian.suite", "four text tasks on the Debian package index, one encoder"),
    "debian8": Entry("debian.suite", "eight text tasks on the Debian package index, one encoder"),
    "sametask": Entry("debian.sametask", "one task, experts of skewed parts of the data: merging against voting"),
    "sametask-iid": Entry("debian.sametask", "one task, experts of even parts of the data"),
    "digits": Entry("digits.suite", "networks from different initialisations: loss barriers between them"),
    "backdoor": Entry("backdoor.suite", "one expert with a backdoor, by poisoned data: what do merges inherit"),
    "backdoor-interpolated": Entry("backdoor.suite", "the same, planted so as to outlive merging (BadMerging)"),
    "backdoor-none": Entry("backdoor.suite", "the control: the same experts and patches, nothing planted"),
    "lm": Entry("lm.suite", "small causal language models by domain; checks mechanics, ranks nothing"),
}


def module_of(name: str) -> Module:
    """Of a suite, or of the file about one's own models. Raises RecipeError for a name that no suite has."""
    if name.endswith((".yaml", ".yml")):
        return importlib.import_module(".own.suite", __package__)  # type: ignore[return-value]
    if name not in SUITES:
        raise RecipeError(f"there is no suite '{name}'", hint=nearest(name, SUITES))
    return importlib.import_module(f".{SUITES[name].module}", __package__)  # type: ignore[return-value]
