"""Merge by a recipe into a folder; go on with an interrupted merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.align.alignment import Alignment
from ligate.core.errors import RecipeError
from ligate.engine.device import check_device
from ligate.recipe.parse import data_text, parse_text
from ligate.recipe.schema import Recipe

from .alignments import save_all, saved_in
from .canonical import Located, Lookup, canonical
from .execute import Merged, execute, settle
from .given import GivenRecipe, Overrides, Size, given_bytes, given_recipe, lookup_with
from .learning import learned
from .learning_choice import is_learned, with_idle_data_told
from .measuring import is_measured, measured
from .outcome import read_record, versions
from .sources import absolute
from .stamps import refuse_changed, refuse_other_versions, stamps
from .undertaking import How, Undertaking, undertaking
from .watch import Nobody, Watch
from .workplace import Workplace, begun, put_back, reopened


def merge(
    recipe: GivenRecipe,
    out: str | PathLike[str],
    *,
    dtype: str | None = None,
    seed: int | None = None,
    shard_size: Size | None = None,
    drop: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    tokenizer: str | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    hashing: bool = True,
    fsync: bool = True,
    allow_nonfinite: bool = False,
    device: str | None = None,
    plugins: Sequence[str | PathLike[str]] = (),
    watch: Watch | None = None,
) -> Merged:
    """Merge what `recipe` says (a path, plain data, a Recipe) into the folder `out`.

    A recipe with `data:` and a method `learn/...` is learned first, into `OUT.learned` (docs/learned.md). The folder
    appears when it is complete; what went in, what was done and what came out stand in its ligate.json.
    `dtype`, `seed`, `shard_size` and `tokenizer` (`union`, `base` or a label) replace what the recipe says, the globs
    in `drop` come to its own; `strip_prefix` holds `MODEL=PREFIX`, or `PREFIX` for every model whose tensor names
    begin with it.
    The result depends on none of `memory`, `threads`, `hashing` and `fsync`, except that without hashing there are no
    digests to verify or resume by. On a `device` (cuda, cuda:1) rules that need a whole tensor calculate there and
    round differently; all others stay on the CPU.

    Raises:
        RecipeError, InputError, NonFiniteError, StorageError, Problems: nothing is left behind, except after an
            interruption or trouble with the disk: then `resume` goes on.
    """
    how = How(
        threads=threads,
        memory=None if memory is None else given_bytes(memory),
        hashing=hashing,
        fsync=fsync,
        overwrite=overwrite,
        allow_nonfinite=allow_nonfinite,
        device=device,
        plugins=tuple(str(Path(plugin).absolute()) for plugin in plugins),
    )
    check_device(device)
    watch = _told(watch, put_back(Path(out)))
    lookup = lookup_with(how.plugins)
    wanted = given_recipe(recipe, Overrides(dtype, seed, shard_size, drop, strip_prefix, tokenizer))
    if wanted.search:
        hint = f"`ligate search RECIPE {out}` looks for the best, and merges by it."
        raise RecipeError("this recipe has a `search:`", where=str(wanted.search.place), hint=hint)
    if is_measured(wanted, lookup):
        wanted = measured(wanted, Path(out), how, lookup, watch)
    elif is_learned(wanted):
        wanted = learned(wanted, Path(out), how, lookup, watch)
    return perform(with_idle_data_told(wanted, lookup), Path(out), how, lookup, watch)


def perform(
    recipe: Recipe,
    out: Path,
    how: How,
    lookup: Lookup,
    watch: Watch,
    alignments: Mapping[str, Alignment] | None = None,
) -> Merged:
    """Run a recipe; `alignments`, by label of a source that the recipe aligns, are known already."""
    with (
        undertaking(recipe, out, how, lookup, alignments=alignments or {}) as job,
        begun(job.out, _start(job), overwrite=how.overwrite) as place,
    ):
        save_all(job.alignments, place.alignments)
        return execute(job, place, watch)


def resume(
    out: str | PathLike[str], *, memory: Size | None = None, threads: int | None = None, watch: Watch | None = None
) -> Merged:
    """Go on with the merge into `out` that was interrupted; what is proven by its digest is not done again.

    Raises:
        InputError: an input has changed since; or what was left cannot be read.
        StorageError: there is nothing to resume, or a process still works on it.
    """
    watch = _told(watch, put_back(Path(out)))
    with reopened(Path(out)) as place:
        if place.is_named():
            return _already_named(place)
        start = place.read_start()
        how = _how(start, threads, None if memory is None else given_bytes(memory))
        check_device(how.device)
        refuse_changed(start["inputs"])
        refuse_other_versions(start.get("versions", {}))
        lookup = lookup_with(how.plugins)
        recipe = parse_text(data_text(start["recipe"]), str(place.folder / "merge.json"))
        with undertaking(recipe, place.out, how, lookup, taken=place.nbytes()) as job:
            return execute(job, place, watch)


def _told(watch: Watch | None, note: str) -> Watch:
    watch = watch or Nobody()
    if note:
        watch.note(note)
    return watch


def _start(job: Undertaking) -> dict[str, Any]:
    """What `resume` needs: the recipe with paths that hold from anywhere, options, how the inputs look now."""
    recipe = saved_in(job.recipe, Workplace(job.out).alignments, job.alignments)
    return {
        "recipe": canonical(recipe, job.lookup, _absolute),
        "how": asdict(job.how),
        "inputs": stamps(job.sources, job.how.plugins),
        "versions": versions(),
    }


def _absolute(spec: Located, label: str) -> str:
    return absolute(spec.path)


def _how(start: Mapping[str, Any], threads: int | None, memory: int | None) -> How:
    known = {field.name for field in fields(How)}
    how = How(**{key: value for key, value in start["how"].items() if key in known})
    return replace(how, threads=threads or how.threads, memory=memory or how.memory, plugins=tuple(how.plugins))


def _already_named(place: Workplace) -> Merged:
    """Interrupted between the renaming and the clearing up."""
    settle(place)
    record = read_record(place.out)
    nbytes = sum(entry.header.nbytes for entry in record.tensors.values())
    return Merged(str(place.out), record.digest(), len(record.tensors), len(record.steps[-1].dropped), nbytes, 0.0, ())
