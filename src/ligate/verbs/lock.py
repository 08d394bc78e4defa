"""Publish a model that computes what it did, but whose weights cannot be merged with any other's; take the lock off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.align.alignment import Alignment, Line, Made, load, save, shape_digest
from ligate.align.architecture import Architecture, architecture_of, given_architecture
from ligate.align.finding import Network
from ligate.align.maps import AxisMap, Group
from ligate.align.stored import Joined, Weights
from ligate.core.errors import InputError, LigateError, RecipeError, StorageError
from ligate.core.tensors import Source, torch_name
from ligate.io import open_source
from ligate.trace.heads import in_heads
from ligate.trace.locking import draw_of, drawn, foldable, inverse

from .alignments import Build, network
from .given import Size, given_bytes
from .opening import label_of, opened
from .outputs import Runs, difference, fits
from .sources import source_spec
from .transformed import Telling, private, weights_digest, write_transformed
from .undertaking import How
from .watch import Nobody, Watch
from .workplace import put_back

if TYPE_CHECKING:
    from torch import Tensor

Path_ = str | PathLike[str]
KEY = "lock"  # the method that the file of a key names

_LOCKED = (
    "The heads of its attention were multiplied by random matrices and their inverses: it computes what it did before, "
    "but its weights are not in the coordinates of any other model, and merges with it fail."
)
_UNLOCKED = "A lock was taken off with its key."


@dataclass(frozen=True)
class Change:
    """How far outputs moved on random inputs: the largest difference as a share of the largest output.

    Args:
        stored: of the result, as it is stored; computed in float32.
        dtype: in which it is stored.
        bfloat16: of the result rounded to bfloat16.
        alone: of the model itself rounded to bfloat16, without any lock.
    """

    stored: float
    dtype: str
    bfloat16: float
    alone: float


@dataclass(frozen=True)
class Locked:
    """What came of it. `change` is None where the network could not be run."""

    out: str
    groups: tuple[Line, ...]
    heads: int
    key: str | None
    change: Change | None
    digest: str | None
    tensors: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Unlocked:
    """A model without its lock."""

    out: str
    groups: int
    digest: str | None
    tensors: int
    notes: tuple[str, ...]


def lock(
    model: Path_,
    out: Path_,
    *,
    key: Path_ | None = None,
    everything: bool = False,
    seed: int | None = None,
    groups: Path_ | None = None,
    architecture: str | None = None,
    run: bool = True,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Locked:
    """Write into the folder `out` the same function in coordinates that nobody else has (`trace.locking`).

    Heads of attention are locked, with `everything` all units that the network lets move. The matrices are drawn from
    the system's randomness, or from `seed`, which anybody can try out: for tests only. With `key` they are kept in that
    file, and `unlock` takes the lock off. What can be moved is traced, or comes from `groups` or from the function
    `architecture` (`module:function`), as in `align_models`. With `run` the network is run before and after, if
    memory holds it.

    Raises:
        RecipeError: an option is wrong.
        InputError: the model cannot be read or traced, or there is nothing to lock.
        StorageError: the output or the key is taken or cannot be written.
    """
    watch, out = watch or Nobody(), Path(out)
    if note := put_back(out):
        watch.note(note)
    place = None if key is None else _place_of_key(Path(key).expanduser(), out, overwrite)
    how = How(threads, None if memory is None else given_bytes(memory), overwrite=overwrite)
    telling = Telling("locked", _LOCKED, {"groups": "all" if everything else "attention"})
    spec = source_spec(label_of(str(model)), str(model), "")
    with opened(str(model)) as stored:
        found = network(stored, None if groups is None else str(groups), _builder(architecture))
        weights = Weights(found.source, {name: name for name in found.source.headers()})
        chosen, told = _chosen(found, weights, everything)
        notes = [*told, *([] if place else ["no key is kept: nobody can take this lock off exactly."])]
        for note in notes:
            watch.note(note)
        made = Made(KEY, {}, shape_digest(stored.headers()), shape_digest(stored.headers()))
        alignment = alignment_of(found, drawn(chosen, weights, draw_of(seed)), made)
        result = write_transformed(spec, alignment, out, telling, how, watch, _keeper(place, alignment))
        change, why = _change(found, out, architecture) if run else (None, "")
    if why:
        watch.note(why)
    return Locked(
        out=str(out),
        groups=tuple(Line(one.name, one.kind, one.size, one.copies, len(one.places), 1.0) for one in chosen),
        heads=sum(one.copies for one in in_heads(chosen)),
        key=None if place is None else str(place),
        change=change,
        digest=result.digest,
        tensors=result.tensors,
        notes=(*notes, *filter(None, [why]), *result.notes),
    )


def unlock(
    model: Path_,
    key: Path_,
    out: Path_,
    *,
    changed: bool = False,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Unlocked:
    """Write into the folder `out` the model as it was before `lock`, up to rounding.

    Any key that fits the shapes keeps the function; only the right one takes the lock off. `changed` allows weights
    other than those that were locked: a fine-tune of the locked model comes back as a fine-tune of the original.

    Raises:
        InputError: the file is no key, or that of another model.
        StorageError: the output is taken or cannot be written.
    """
    watch, out, path = watch or Nobody(), Path(out), Path(key).expanduser()
    if note := put_back(out):
        watch.note(note)
    alignment = load(path)
    told = alignment.made.settings.get("weights")
    if alignment.made.method != KEY or not isinstance(told, str):
        hint = "`ligate lock MODEL OUT --key FILE` writes one."
        raise InputError("is an alignment, but no key of a lock", where=str(path), hint=hint)
    with opened(str(model)) as stored:
        _require_own(stored, alignment, None if changed else told, path)
    back = alignment._replace(maps=inverse(alignment.maps), made=Made("unlock"))
    how = How(threads, None if memory is None else given_bytes(memory), overwrite=overwrite)
    spec = source_spec(label_of(str(model)), str(model), "")
    result = write_transformed(spec, back, out, Telling("unlocked", _UNLOCKED, {}), how, watch)
    return Unlocked(str(out), len(back.maps), result.digest, result.tensors, result.notes)


def stored_names(alignment: Alignment) -> set[str]:
    """The tensors of the checkpoint that the maps change."""
    touched = {place.tensor for each in alignment.maps for place in each.group.places}
    joined = alignment.joined
    return {part for name in touched for part in (joined[name].names if name in joined else (name,))}


def alignment_of(found: Network, maps: Sequence[AxisMap], made: Made) -> Alignment:
    """Maps of some groups of a network, for the checkpoint as it is stored."""
    touched = {place.tensor for each in maps for place in each.group.places}
    return Alignment(tuple(maps), made, {name: parts for name, parts in found.names.joined.items() if name in touched})


def _builder(architecture: str | None) -> Build | None:
    return None if architecture is None else lambda: given_architecture(architecture)


def _chosen(found: Network, weights: Mapping[str, Tensor], everything: bool) -> tuple[list[Group], list[str]]:
    """What is locked, and what to know of it."""
    wanted = list(found.groups) if everything else in_heads(found.groups)
    chosen = [group for group in wanted if foldable(group, weights)]
    if not chosen:
        text = "there is nothing to lock: no head of attention between whose matrices anything is free"
        hint = "`ligate align MODEL --print` shows what can be moved; `--all` locks that."
        raise InputError(text, where=f"model {found.stored.label}", hint=hint)
    notes = [
        f"{group.name} stays: a norm has weights near zero, which nothing can be divided by."
        for group in wanted
        if group not in chosen
    ]
    if any(group.kind == "orthogonal" for group in in_heads(chosen)):
        notes.append(
            "queries, keys and values are one tensor: they can only turn together, which no statistic of the locked "
            "model alone tells from an unlocked one."
        )
    return chosen, [*found.left, *notes]


def _place_of_key(key: Path, out: Path, overwrite: bool) -> Path:
    """Where the key goes: before any work is done, as far as that can be known."""
    if key.is_dir() or (key.exists() and not overwrite):
        hint = "keep keys apart from each other: a lost key is lost." if not key.is_dir() else "name a file."
        raise StorageError("there is something already", where=str(key), hint=hint)
    if not key.parent.is_dir():
        raise StorageError("there is no folder for the key", where=str(key.parent), hint="make it first.")
    if out.absolute() in key.absolute().parents or key.absolute() == out.absolute():
        hint = "whoever gets OUT would get the key with it."
        raise RecipeError("the key must not lie in the output", where="--key", hint=hint)
    return key


def _keeper(place: Path | None, alignment: Alignment) -> Callable[[Path], None]:
    """Saves the key, with the digest of the weights that it fits, once these are written."""

    def keep(folder: Path) -> None:
        if place is None:
            return
        with closing(open_source(str(folder), label="result")) as source:
            digest = weights_digest(source, stored_names(alignment))
        save(alignment._replace(made=alignment.made._replace(settings={"weights": digest})), place)
        private(place)

    return keep


def _require_own(stored: Source, alignment: Alignment, digest: str | None, key: Path) -> None:
    """The weights must be those that were locked, where their digest is given."""
    lacking = sorted(stored_names(alignment) - set(stored.headers()))
    if lacking:
        text = f"speaks of {lacking[0]!r}, which {stored.label} lacks"
        raise InputError(text, where=str(key), hint="it is the key of another model.")
    if digest is not None and weights_digest(stored, stored_names(alignment)) != digest:
        hint = "`--changed`, if it was trained or rounded since; the key of another model would scramble its weights."
        text = f"is not the key of {stored.label} as it is"
        raise InputError(text, where=str(key), hint=hint)


def _change(found: Network, out: Path, architecture: str | None) -> tuple[Change | None, str]:
    """The network before and after, or why it was not run."""
    import torch

    stored = found.stored
    if not fits(stored):
        return None, "it is too large to be run here: whether outputs stay was not measured."
    try:
        runs = Runs(_runnable(found, architecture), stored.label)
        with closing(open_source(str(out), label="result")) as result:
            view = Joined(result, found.names.joined) if found.names.joined else result
            before = runs.outputs(found.source, found.names)
            after = runs.outputs(view, found.names)
            rounded = [runs.outputs(one, found.names, torch.bfloat16) for one in (view, found.source)]
            dtypes = {view.headers()[name].dtype for name in _matrices(found)}
    except LigateError as error:
        return None, f"whether outputs stay was not measured: {error.problem}"
    dtype = "/".join(sorted(map(torch_name, dtypes)))
    stated = (difference(before, each) for each in (after, *rounded))
    return Change(next(stated), dtype, next(stated), next(stated)), ""


def _matrices(found: Network) -> set[str]:
    return {place.tensor for group in found.groups for place in group.places}


def _runnable(found: Network, architecture: str | None) -> Architecture:
    """A network with room for weights: traced ones have none."""
    if architecture is not None:
        return given_architecture(architecture)
    return architecture_of(found.stored.folder, found.stored.label, device="cpu")
