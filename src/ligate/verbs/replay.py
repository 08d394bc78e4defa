"""Make a result again from its record, and compare every digest: proof that the record tells the whole story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, RecipeError, VerifyError
from ligate.core.suggest import nearest
from ligate.engine.record import NAME, Entry, Record
from ligate.recipe.parse import data_text, parse_text
from ligate.recipe.schema import AlignSpec, Recipe, SourceSpec

from .canonical import adapter_label, alignment_label
from .given import Size
from .merge import merge
from .outcome import read_log, read_record, versions
from .transformed import transformation
from .watch import Nobody, Watch

_SHOWN = 5  # differences of one kind


@dataclass(frozen=True)
class Replayed:
    """The same bytes again."""

    out: str
    new: str
    digest: str | None
    tensors: int


def replay(
    out: str | PathLike[str],
    new: str | PathLike[str],
    *,
    sources: Mapping[str, str] | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    plugins: Sequence[str | PathLike[str]] = (),
    watch: Watch | None = None,
) -> Replayed:
    """Merge again into `new` what the record in `out` says, then compare the two records.

    The sources are looked for where the log beside `out` says they lay; `sources` (label -> path) says otherwise.

    Raises:
        VerifyError: an input or a result has another digest. `new` stays, for `diff`.
        InputError: a source is not known, `out` was merged without hashing, or it is no merge but a lock.
    """
    watch = watch or Nobody()
    record = read_record(out)
    _require_told(record, out)
    if not record.hashed:
        raise InputError("was merged without hashing: there is nothing to compare with", where=str(out))
    log = read_log(Path(out))
    for name, version in versions().items():
        if record.versions.get(name) != version:
            watch.note(f"made with {name} {record.versions.get(name)}, this is {version}: the bytes may differ.")
    recipe = _with_places(_recipe(record, str(out)), _places(log, sources or {}))
    settings = log.get("settings", {})
    known, device = settings.get("plugins", ()), settings.get("device")
    kept = settings.get("allow_nonfinite", False)
    merged = merge(
        recipe,
        new,
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        allow_nonfinite=kept,
        device=device,
        plugins=(*known, *plugins),
        watch=watch,
    )
    found = _differences(record, read_record(new))
    if found:
        hint = f"{new} is kept: see `ligate diff {out} {new}`."
        raise VerifyError("\n".join((f"differs from {out}", *found)), where=str(new), hint=hint)
    return Replayed(str(out), str(new), merged.digest, merged.tensors)


def _require_told(record: Record, out: str | PathLike[str]) -> None:
    """What was locked or unlocked cannot be made again: its record keeps silent about how, and has to."""
    word = transformation(record)
    if word is not None:
        text = (
            f"is the record of a model that was {word}: it has the digests of the result and of nothing else, so that "
            "neither matrices nor the weights before them can be found out from it, or made again"
        )
        hint = f"`ligate verify {out}` checks the weights against it; `ligate lock --unlock` needs the key."
        raise InputError(text, where=f"{out}/{NAME}", hint=hint)


def _recipe(record: Record, where: str) -> Recipe:
    return parse_text(data_text(record.recipe), f"{where}/{NAME}")


def _places(log: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Path of each source, adapter (`a+1`) and alignment (`a+alignment`) by label."""
    places: dict[str, str] = {}
    for label, place in log.get("sources", {}).items():
        places[label] = place["path"]
        places |= {adapter_label(label, number): path for number, path in enumerate(place["adapters"], 1)}
        if "alignment" in place:
            places[alignment_label(label)] = place["alignment"]
    return {**places, **given}


def _with_places(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    """The recipe with paths for its labels; results of earlier steps need none."""
    steps = {step.name for step in recipe.steps}
    specs = {label: spec for label, spec in recipe.sources.items() if spec.path not in steps}
    wanted = [
        label for spec in specs.values() for label in (spec.label, *_adapter_labels(spec), *_alignment_labels(spec))
    ]
    for label in places:
        if label not in wanted and label not in recipe.sources:
            raise RecipeError(f"there is no source `{label}`", where="--source", hint=nearest(label, wanted))
    lacking = [label for label in wanted if label not in places]
    if lacking:
        hint = " ".join(f"--source {label}=PATH" for label in lacking)
        raise InputError(f"nobody knows where {', '.join(lacking)} lie", where="replay", hint=f"give {hint}")
    return replace(
        recipe, sources={**recipe.sources, **{label: _placed(spec, places) for label, spec in specs.items()}}
    )


def _adapter_labels(spec: SourceSpec) -> list[str]:
    return [adapter_label(spec.label, number) for number in range(1, len(spec.adapters) + 1)]


def _alignment_labels(spec: SourceSpec) -> list[str]:
    return [alignment_label(spec.label)] if spec.align else []


def _placed(spec: SourceSpec, places: Mapping[str, str]) -> SourceSpec:
    adapters = tuple(
        replace(adapter, path=places[label])
        for adapter, label in zip(spec.adapters, _adapter_labels(spec), strict=True)
    )
    align = AlignSpec(places[alignment_label(spec.label)]) if spec.align else None
    return replace(spec, path=places[spec.label], adapters=adapters, align=align)


def _differences(old: Record, new: Record) -> list[str]:
    """Inputs first: when one of them differs, the results have to."""
    found: list[str] = []
    for label in old.sources:
        before, after = old.input_digests(label), new.input_digests(label)
        others = [name for name in before if before[name] != after.get(name)]
        found += _told([f"  source {label}, tensor {name} was another one" for name in others])
    found += _told([f"  tensor {name} differs" for name, entry in old.tensors.items() if _other(new, name, entry)])
    found += _told([f"  tensor {name} is new" for name in new.tensors if name not in old.tensors])
    names = [*old.files, *(name for name in new.files if name not in old.files)]
    found += [f"  file {name} differs" for name in names if old.files.get(name) != new.files.get(name)]
    return found


def _other(new: Record, name: str, entry: Entry) -> bool:
    again = new.tensors.get(name)
    return again is None or again.digest != entry.digest


def _told(lines: list[str]) -> list[str]:
    """A wrong source makes every tensor differ: some of them are enough."""
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"  ... and {more:,} more of this kind"] if more > 0 else [])]
