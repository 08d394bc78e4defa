"""A merge before it runs: checked, planned, its sources open, nothing written."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ligate.align.alignment import Alignment
from ligate.core.errors import LigateError, raise_all
from ligate.recipe.review import review
from ligate.recipe.schema import Recipe
from ligate.recipe.searching import anywhere

from .alignments import moving
from .canonical import Lookup
from .preflight import Stage, bytes_needed, guard_output, plan_all
from .sources import Sources, open_sources
from .tokenizers import lost_tokens, template_complaints
from .twice import same_models
from .vocabularies import Aligned, aligned

_NONE: Mapping[str, Alignment] = MappingProxyType({})


@dataclass(frozen=True)
class How:
    """What changes how a merge runs, never what comes out (but on another device by rounding)."""

    threads: int | None = None
    memory: int | None = None
    hashing: bool = True
    fsync: bool = True
    overwrite: bool = False
    allow_nonfinite: bool = False
    device: str | None = None
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Undertaking:
    """A planned merge with its open sources."""

    recipe: Recipe
    out: Path
    vocabulary: Aligned
    stages: tuple[Stage, ...]
    config_edits: Mapping[str, Any]
    notes: tuple[str, ...]
    lookup: Lookup
    how: How
    alignments: Mapping[str, Alignment]

    @property
    def sources(self) -> Sources:
        return self.vocabulary.sources


@contextmanager
def undertaking(
    recipe: Recipe,
    out: Path | None,
    how: How,
    lookup: Lookup,
    *,
    taken: int = 0,
    alignments: Mapping[str, Alignment] = _NONE,
) -> Generator[Undertaking]:
    """Everything checked and opened; all problems are told at once. Without `out` only its place is not looked at.

    `taken` bytes of the room that the output needs are its own already; `alignments`, by label of a source, are known.
    """
    found: list[LigateError] = [*recipe.problems, *review(recipe, lookup), *same_models(recipe)]
    recipe = recipe if found else anywhere(recipe, lookup)
    sources = open_sources(recipe, found)
    try:
        moved = moving(recipe, sources, found, alignments)
        vocabulary = aligned(recipe, moved.sources, found)
        found += template_complaints(recipe, sources)
        planned = plan_all(recipe, vocabulary.sources, lookup, found, threads=how.threads, memory=how.memory)
        if out is not None:
            needed = bytes_needed(planned.stages) if planned else 0
            found += guard_output(out, sources, max(needed - taken, 0), overwrite=how.overwrite)
        raise_all(list({str(error): error for error in found}.values()))
        if planned is not None:  # else something was found
            notes = (*recipe.notes, *moved.notes, *vocabulary.notes, *lost_tokens(recipe, vocabulary), *planned.notes)
            edits = planned.config_edits
            yield Undertaking(
                recipe, out or Path(), vocabulary, planned.stages, edits, notes, lookup, how, moved.alignments
            )
    finally:
        sources.close()
