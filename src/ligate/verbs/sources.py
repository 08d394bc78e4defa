"""Opening what a recipe names: checkpoints on disk, results of earlier steps, tensors in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ligate.core.errors import InputError, LigateError, Problems
from ligate.core.tensors import Header, Source
from ligate.engine.plan import Plan
from ligate.io import open_source
from ligate.io.filled import filled
from ligate.recipe.schema import AdapterSpec, Place, Recipe, SourceSpec

_REVISION = re.compile(r"(?P<path>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")


class Sources(dict[str, Source]):
    """Open sources by label. Whoever opened them closes them."""

    def close(self) -> None:
        for source in self.values():
            source.close()


class Expected:
    """The result of an earlier step before it was computed: its headers are known, its numbers are not."""

    def __init__(self, label: str, plan: Plan, folder: Path | None) -> None:
        self.label = label
        self.folder = folder
        self._headers = {out.name: out.header for out in plan.outs}
        self._metadata = dict(plan.metadata)

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        raise InputError("this step has not run yet").inside(tensor=name, model=self.label)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        """Nothing is there yet."""

    def place(self, name: str) -> str:
        return f"result of step {self.label}"

    def files(self) -> Sequence[Path]:
        return ()

    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def close(self) -> None:
        """Nothing is open."""


def open_sources(recipe: Recipe, found: list[LigateError]) -> Sources:
    """Every source of the recipe that exists before the first step runs; `found` takes what cannot be opened."""
    sources = Sources()
    steps = {step.name for step in recipe.steps}
    for label, spec in recipe.sources.items():
        if spec.path in steps or not spec.path:  # a result, or a path that is missing, which is told already
            continue
        try:
            sources[label] = open_spec(spec)
        except LigateError as error:
            found += [_located(one, spec) for one in flat(error)]
    _fill(recipe, sources, found)
    return sources


def _fill(recipe: Recipe, sources: Sources, found: list[LigateError]) -> None:
    """Lay a view over each source that is narrower than another, from which it takes what it lacks."""
    opened = dict(sources)
    for label, spec in recipe.sources.items():
        if spec.fill in opened and label in opened:
            try:
                sources[label] = filled(opened[label], opened[spec.fill])
            except LigateError as error:
                found.append(_located(error, spec))


def _located(error: LigateError, spec: SourceSpec) -> LigateError:
    """Also told: the line of the recipe that names the source; where there is none, the source itself."""
    if spec.place.line:
        return error.inside(source=f"{spec.label} of {spec.place}")
    return error if spec.label in str(error) else error.inside(model=spec.label)


def source_spec(label: str, text: str, place: str) -> SourceSpec:
    """`path`, `org/name@revision`, either with `+adapter` behind it; a path that exists is never taken apart."""
    path, adapters = text, tuple[str, ...]()
    if not os.path.lexists(os.path.expanduser(text)):
        path, *rest = text.split("+")
        adapters = tuple(rest)
    specs = tuple(AdapterSpec(*_revision(adapter)) for adapter in adapters)
    return SourceSpec(label, *_revision(path), specs, place=Place(place))


def open_spec(spec: SourceSpec, path: str | None = None) -> Source:
    """Open one source; `path` where its result lies when it names an earlier step."""
    return open_source(
        path or spec.path,
        label=spec.label,
        revision=spec.revision,
        adapters=[(adapter.path, adapter.revision, adapter.scale) for adapter in spec.adapters],
        strip_prefix=spec.strip_prefix,
        alias=spec.alias,
    )


def labels_of_step(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Under which labels a step's result is used: its name, and sources that have it as their path."""
    return (name, *(label for label, spec in recipe.sources.items() if spec.path == name and label != name))


def flat(error: LigateError) -> Sequence[LigateError]:
    return error.found if isinstance(error, Problems) else (error,)


def is_local(path: str) -> bool:
    return Path(path).expanduser().exists()


def absolute(path: str) -> str:
    """A path that means the same from anywhere; a Hub id stays what it is."""
    return os.path.abspath(Path(path).expanduser()) if is_local(path) else path


def _revision(text: str) -> tuple[str, str | None]:
    found = None if os.path.lexists(os.path.expanduser(text)) else _REVISION.fullmatch(text)
    return (found["path"], found["revision"]) if found else (text, None)
