"""Models in the coordinates of others, before anything is planned: a view over each source that a recipe aligns.

An alignment is found once. From then on it is a file: an interrupted merge goes on with it, the result keeps it, and a
replay uses it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ligate.align.alignment import NAME, Alignment, lines, load, save
from ligate.align.architecture import Architecture, architecture_of
from ligate.align.finding import ALIKE, NEEDS_DATA, Network, found_alignment, given_network, traced_network
from ligate.align.view import in_coordinates
from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.tensors import Source
from ligate.recipe.schema import AlignSpec, Recipe

from .alignment_groups import read_groups
from .inputs import read_inputs
from .parallel import one_processor
from .sources import Sources, flat

if TYPE_CHECKING:
    from ligate.align.running import Inputs

_INPUTS, _BATCH, _LENGTH = 512, 16, 64  # inputs in all and at once; tokens of one

Build = Callable[[], Architecture]
Batches: TypeAlias = "Sequence[Inputs]"


@dataclass(frozen=True)
class Moving:
    """The sources of a merge in their new coordinates, and the alignments, by label."""

    sources: Sources
    alignments: Mapping[str, Alignment]
    notes: tuple[str, ...] = ()


def moving(recipe: Recipe, sources: Sources, found: list[LigateError], given: Mapping[str, Alignment]) -> Moving:
    """A view over each source that is to be aligned; `found` takes what speaks against it.

    `given` are alignments, by label, that need neither be read nor found.
    """
    shown, alignments, notes = Sources(sources), dict[str, Alignment](), list[str]()
    for label, spec in recipe.sources.items():
        align = spec.align
        goal = sources.get(align.to or "") if align else None
        if align is None or label not in sources:
            continue
        try:
            if label in given:
                one, told_by, told = given[label], (), ()
            elif align.path:
                one, told_by, told = _loaded(Path(align.path).expanduser())
            elif goal is not None:
                one, told_by, told = _found(align, sources[label], goal)
            else:
                continue  # it cannot be opened, which is told already
            shown[label] = in_coordinates(sources[label], one, told_by)
        except LigateError as error:
            where = f"{label} of {spec.place}" if spec.place.line else ""
            found += [each.inside(source=where) if where else each for each in flat(error)]
            continue
        alignments[label] = one
        notes += told
    return Moving(shown, alignments, tuple(notes))


def network(source: Source, groups: str | None = None, build: Build | None = None) -> Network:
    """What can be moved of a model: as a file of groups says, a function that builds the network, or its config.

    Raises:
        RecipeError: the file cannot be read, or what it says does not fit the model.
        InputError: the network is not known or cannot be traced.
    """
    if groups is not None:
        return given_network(source, read_groups(Path(groups), source.headers()))
    return traced_network(source, build() if build else architecture_of(source.folder, source.label))


def found_between(
    a: Source, b: Source, align: AlignSpec, build: Build | None = None
) -> tuple[Alignment, tuple[str, ...]]:
    """What `align` asks for, and what to know of units that stay.

    On one processor, so that sums have the same bits, and ties the same winner, wherever it is found.

    Raises:
        RecipeError, InputError: as `network`; or the two models do not fit together.
    """
    if (align.data is not None) != (align.method in NEEDS_DATA):
        hint = f"`{', '.join(NEEDS_DATA)}` needs inputs, other methods take none."
        raise RecipeError(f"method `{align.method}` {'with' if align.data else 'without'} `data`", hint=hint)
    batches: Batches = ()
    if align.data is not None:
        batches, build = _fed(a, align.data, build)
    one, other = (network(source, align.groups, build) for source in (a, b))
    with one_processor():
        found = found_alignment(one, other, align.method, seed=align.seed, starts=align.starts, batches=batches)
    return found, other.left


def _fed(source: Source, data: str, build: Build | None) -> tuple[Batches, Build]:
    """Inputs in batches, and the network called with one: only a network with numbers in it can be run."""
    architecture = build() if build else architecture_of(source.folder, source.label, device="cpu")
    batches = read_inputs(Path(data), architecture, source.folder, _LENGTH).batches(_BATCH, _INPUTS)
    if not batches:
        raise InputError("holds no inputs", where=data, hint="give some hundreds.")
    first = batches[0]
    named, placed = (first, ()) if isinstance(first, Mapping) else ({}, first)
    return batches, lambda: architecture._replace(inputs=tuple(placed), options=named)


def saved_in(recipe: Recipe, folder: Path, alignments: Mapping[str, Alignment]) -> Recipe:
    """The recipe with the files that `save_all` writes into the folder."""
    names = file_names(alignments)
    sources = {
        label: replace(spec, align=replace(spec.align or AlignSpec(), path=str(folder / names[label])))
        if label in names
        else spec
        for label, spec in recipe.sources.items()
    }
    return replace(recipe, sources=sources)


def save_all(alignments: Mapping[str, Alignment], folder: Path) -> None:
    names = file_names(alignments)
    for label, alignment in alignments.items():
        folder.mkdir(parents=True, exist_ok=True)
        save(alignment, folder / names[label])


def file_names(alignments: Mapping[str, Any]) -> dict[str, str]:
    """`alignment.safetensors` where there is one, with the label in its name where there are several."""
    if len(alignments) == 1:
        return dict.fromkeys(alignments, NAME)
    names: dict[str, str] = {}
    for label in alignments:
        plain = re.sub(r"[^\w.]+", "-", label)
        wanted, number = f"alignment-{plain}.safetensors", 2
        while wanted in names.values():
            wanted, number = f"alignment-{plain}-{number}.safetensors", number + 1
        names[label] = wanted
    return names


def facts(alignment: Alignment, to: str | None) -> dict[str, Any]:
    """What a record tells of it."""
    made = {key: value for key, value in alignment.made._asdict().items() if value not in ("", None)}
    return {**({"to": to} if to else {}), **made, "moved": {line.name: line.moved for line in lines(alignment)}}


def are_alike(alignment: Alignment) -> bool:
    """Whether the two models were in the same coordinates before."""
    before = alignment.made.before
    return alignment.is_identity or (before is not None and before >= ALIKE)


def told_of(a: str, b: str, alignment: Alignment) -> str:
    """One sentence about what an alignment is worth."""
    before, after = alignment.made.before, alignment.made.after
    if are_alike(alignment):
        cosine = f" (cosine of their matrices {before:.3f})" if before is not None else ""
        return f"{a} and {b} are in the same coordinates already{cosine}: fine-tunes of one base need no alignment."
    spoken = ["undefined" if value is None else f"{value:.3f}" for value in (before, after)]
    return f"{b} is aligned to {a}: cosine of their matrices {spoken[0]} before, {spoken[1]} after."


Known = tuple[Alignment, tuple[Path, ...], tuple[str, ...]]
"""With the files on which it depends, and what to know of it."""


def _loaded(path: Path) -> Known:
    return load(path), (path / NAME if path.is_dir() else path,), ()


def _found(align: AlignSpec, source: Source, goal: Source) -> Known:
    one, left = found_between(goal, source, align)
    told_by = (*goal.files(), *(Path(path) for path in (align.groups, align.data) if path))
    return one, told_by, (told_of(goal.label, source.label, one), *(f"{source.label}: {note}" for note in left))
