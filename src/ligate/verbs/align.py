"""Bring a model into the coordinates of another, show what can be moved of it, or check that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ligate.align.alignment import Alignment, Line, lines, load, shape_digest
from ligate.align.architecture import Architecture, architecture_of, given_architecture
from ligate.align.check import Tried, tried
from ligate.align.finding import METHODS, Network, measured
from ligate.align.view import in_coordinates
from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source
from ligate.methods import _catalogue
from ligate.recipe.schema import AlignSpec, Output, Recipe, SourceSpec, Step

from .alignments import Build, are_alike, found_between, network, told_of
from .given import Size, given_bytes
from .merge import perform
from .opening import labels_of, opened
from .sources import Sources, open_spec, source_spec
from .undertaking import How
from .watch import Nobody, Watch
from .workplace import put_back

Path_ = str | PathLike[str]


@dataclass(frozen=True)
class Aligned:
    """What came of it.

    `before` and `after` are the cosine between the matrices of both models on which a group lies; None: not defined.
    """

    out: str
    method: str
    groups: tuple[Line, ...]
    before: float | None
    after: float | None
    same: bool  # both were in the same coordinates already
    digest: str | None
    tensors: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """What can be moved of a model. `places` has every axis on which a group lies."""

    model: str
    groups: tuple[Line, ...]
    places: tuple[tuple[str, ...], ...]
    fixed: dict[str, str]  # tensor -> why it stays
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """What became of the function when random members of each group were applied."""

    model: str
    groups: tuple[Tried, ...]
    failed: tuple[str, ...]  # names of groups that do not keep the function
    notes: tuple[str, ...]


def align_models(
    a: Path_,
    b: Path_,
    out: Path_,
    *,
    method: str = "weights",
    seed: int = 0,
    starts: int = 3,
    use: Path_ | None = None,
    groups: Path_ | None = None,
    model: str | None = None,
    data: Path_ | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Aligned:
    """Write into the folder `out` the model `b` in the coordinates of `a`: the same function, units in other places.

    Units are matched by one of `align.finding.METHODS`, from `seed` and so many `starts`, or moved as the alignment
    `use` says. What can be moved is traced from the network that config.json names, from the one that the function
    `model` (`module:function`) returns with example inputs, or stands in the file `groups`. Method `activations` runs
    both networks on the inputs in the file `data`: arrays (`.npz`, `.npy`), or texts, one on each line.

    The result is a complete checkpoint with a record, the files beside the weights of `b`, and `alignment.safetensors`.
    Where widths change, the configuration is that of `a`.

    Raises:
        RecipeError: an option is wrong. InputError: a model cannot be read or traced, or they do not fit together.
        StorageError: the output is taken or cannot be written.
    """
    watch, out = watch or Nobody(), Path(out)
    if note := put_back(out):
        watch.note(note)
    align = AlignSpec("", "", method, seed, starts, _text(groups), _text(data))
    _refuse(align, use, model)
    labels = labels_of((str(a), str(b)))
    specs = [source_spec(label, str(path), "") for label, path in zip(labels, (a, b), strict=True)]
    sources = Sources()
    with closing(sources):
        for spec in specs:
            sources[spec.label] = open_spec(spec)
        one, other = (sources[label] for label in labels)
        if use is None:
            alignment, notes = found_between(one, other, align, _builder(model))
        else:
            alignment, notes = load(Path(use).expanduser()), ()
        recipe = _recipe(specs[0], specs[1], replace(align, to=labels[0]), one, other, alignment)
        seen = alignment if use is None else measured(one, other, alignment)
    told = (told_of(labels[0], labels[1], seen), *notes)
    for note in told:
        watch.note(note)
    how = How(threads, None if memory is None else given_bytes(memory), overwrite=overwrite)
    merged = perform(recipe, out, how, _catalogue.load, watch, {labels[1]: alignment})
    made = seen.made
    return Aligned(
        out=str(out),
        method=made.method,
        groups=tuple(lines(alignment)),
        before=made.before,
        after=made.after,
        same=are_alike(seen),
        digest=merged.digest,
        tensors=merged.tensors,
        notes=(*told, *merged.notes),
    )


def movable(source: Path_, *, groups: Path_ | None = None, model: str | None = None) -> Groups:
    """The groups of units of a model that can be moved, and why all others cannot. Weights are not read.

    Raises:
        RecipeError, InputError: as `align_models`.
    """
    with _network(source, groups, model) as found:
        listed = tuple(
            Line(group.name, group.kind, group.size, group.copies, len(group.places), 0.0) for group in found.groups
        )
        places = tuple(tuple(map(str, group.places)) for group in found.groups)
        fixed = dict(found.traced.fixed) if found.traced else {}
        return Groups(found.stored.label, listed, places, fixed, found.left)


def check_groups(source: Path_, *, groups: Path_ | None = None, model: str | None = None, seed: int = 0) -> Checked:
    """Apply a random member of each group to the model's weights, and compare what it computes in float64.

    Raises:
        RecipeError, InputError: as `align_models`; or there is no network to compute anything with.
    """
    with _network(source, groups, model) as found:
        groups_tried = tuple(tried(found, _runnable(found, model), seed=seed))
        failed = tuple(one.name for one in groups_tried if not one.holds)
        return Checked(found.stored.label, groups_tried, failed, found.left)


def _refuse(align: AlignSpec, use: Path_ | None, model: str | None) -> None:
    if align.method not in METHODS:
        raise RecipeError(f"there is no method `{align.method}`", where="--method", hint=nearest(align.method, METHODS))
    if align.starts < 1:
        raise RecipeError(f"must be at least 1. Got {align.starts} instead.", where="--starts")
    if align.groups is not None and model is not None:
        raise RecipeError("give either `--groups` or `--model`", hint="both say what can be moved.")
    if use is not None and (align.groups, align.data, model) != (None, None, None):
        hint = "a saved alignment says itself what is moved."
        raise RecipeError("`--use` takes neither `--groups`, `--model` nor `--data`", hint=hint)


def _text(path: Path_ | None) -> str | None:
    return None if path is None else str(path)


def _recipe(a: SourceSpec, b: SourceSpec, align: AlignSpec, one: Source, other: Source, alignment: Alignment) -> Recipe:
    """One model through its view. A's files beside the weights where the result has A's shapes and B had others."""
    shown = shape_digest(in_coordinates(other, alignment).headers())
    own, goal = shape_digest(other.headers()), shape_digest(one.headers())
    wider = shown != own and shown == goal
    sources = {b.label: replace(b, align=align), **({a.label: a} if wider else {})}
    return Recipe(sources, (Step("passthrough", (b.label,)),), Output(donor=a.label if wider else None))


def _builder(model: str | None) -> Build | None:
    return None if model is None else lambda: given_architecture(model)


@contextmanager
def _network(source: Path_, groups: Path_ | None, model: str | None) -> Generator[Network]:
    with opened(str(source)) as stored:
        yield network(stored, _text(groups), _builder(model))


def _runnable(found: Network, model: str | None) -> Architecture:
    """A network with room for weights: traced ones have none."""
    if model is not None:
        return given_architecture(model)
    return architecture_of(found.stored.folder, found.stored.label, device="cpu")
