"""A model written anew after maps of its own symmetries, so that the result tells nothing of the maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ligate.align.alignment import Alignment
from ligate.core.tensors import Source, itemsize
from ligate.engine import digest
from ligate.engine import record as records
from ligate.engine.record import Entry, Record, StepRecord, step_record
from ligate.engine.run import run
from ligate.io.folder import stems
from ligate.io.writer import FolderSink
from ligate.methods import _catalogue
from ligate.recipe.schema import AlignSpec, Recipe, SourceSpec, Step

from .beside import file_digests, write_file
from .growing import growing
from .model_card import NAME as CARD
from .model_card import front_matter, notes, plain
from .outcome import parents, versions, write_sidecars
from .parents import Parent
from .preflight import bytes_needed
from .undertaking import How, Undertaking, undertaking
from .watch import Watch

_PIECE = 1 << 22  # bytes read together

Word = Literal["locked", "unlocked"]
"""What was done to a model, as its record and its card say."""


@dataclass(frozen=True)
class Telling:
    """What the result says of itself: what was done in one word, that in a sentence, and settings that may be known."""

    word: Word
    sentence: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """A complete model folder."""

    out: str
    digest: str | None
    tensors: int
    nbytes: int
    notes: tuple[str, ...]


def write_transformed(
    spec: SourceSpec,
    alignment: Alignment,
    out: Path,
    telling: Telling,
    how: How,
    watch: Watch,
    before_named: Callable[[Path], None] = lambda folder: None,
) -> Result:
    """The model behind `spec` after all maps, streamed into the folder `out`, which appears when it is complete.

    The record holds digests of the result and of nothing else: neither the maps nor the weights before them can be
    found out from it. `before_named` is called with the complete folder before it gets its name.

    Raises:
        InputError, NonFiniteError, StorageError, Problems: nothing is left behind.
    """
    recipe = Recipe({spec.label: replace(spec, align=AlignSpec())}, (Step("passthrough", (spec.label,)),))
    with undertaking(recipe, out, how, _catalogue.load, alignments={spec.label: alignment}) as job:
        for note in job.notes:
            watch.note(note)
        with growing(out, job.sources, bytes_needed(job.stages), overwrite=how.overwrite) as folder:
            step = _written(job, folder, how, watch)
            record = _finished(job, spec, step, telling, folder)
            before_named(folder)
        written = job.stages[-1].forecast.written
        return Result(str(out), record.digest(), len(record.tensors), written, job.notes)


def transformation(record: Record) -> Word | None:
    """What was done to a model, by its record; None if it was made by a recipe."""
    return next((word for word in get_args(Word) if word in record.recipe), None)


def weights_digest(source: Source, names: set[str]) -> str:
    """Of the names, types, shapes and bytes of these tensors, however they are spread over files."""
    state = digest.hasher()
    for name in sorted(names):
        header = source.headers()[name]
        state.update(f"{name}\0{header.dtype}\0{list(header.shape)}\n".encode())
        step = _PIECE // itemsize(header.dtype)
        for start in range(0, header.numel, step):
            piece = bytearray(min(step, header.numel - start) * itemsize(header.dtype))
            source.read_into(name, start, memoryview(piece))
            state.update(piece)
    return digest.of_segment(state).hex()


def _written(job: Undertaking, folder: Path, how: How, watch: Watch) -> StepRecord:
    stage = job.stages[-1]
    plan, giver = stage.plan, job.sources[stage.step.models[0]]
    headers = {out.name: out.header for out in plan.outs}
    names = stems(giver.folder) if giver.folder else {"": "model"}
    sink = FolderSink(folder, headers, shard_bytes=plan.shard_bytes, metadata=plan.metadata, stems=names)
    watch.begin("writing", stage.forecast.read + stage.forecast.written)
    try:
        with closing(sink):
            results = run(
                plan,
                [job.sources[label] for label in plan.sources],
                _catalogue.load,
                sink,
                threads=how.threads,
                memory=how.memory,
                progress=watch.advance,
            )
            sink.finish(fsync=False)  # the folder is synced as a whole before it gets its name
    finally:
        watch.end()
    return step_record(plan, stage.digest, None, results, _catalogue.load)


def _finished(job: Undertaking, spec: SourceSpec, step: StepRecord, telling: Telling, folder: Path) -> Record:
    """Configuration, tokenizer, model card and record beside the weights."""
    family = parents(job.recipe, job.sources)
    write_sidecars(job.recipe, job.vocabulary, job.config_edits, folder)
    write_file(folder / CARD, _card(telling, family))
    entries = {name: _alone(entry) for name, entry in step.tensors.items()}
    told = {telling.word: {"model": spec.label, **telling.settings}}
    known = {spec.label: {"hub": family[0].hub}} if family[0].hub else {}
    metadata = job.stages[-1].plan.metadata
    record = Record(versions(), told, known, (replace(step, tensors=entries),), metadata, file_digests(folder))
    write_file(folder / records.NAME, records.to_text(record))
    return record


def _alone(entry: Entry) -> Entry:
    """Without what was read: the digests of other weights."""
    return replace(entry, method=None, base=None, tuned=(), params={}, stats={})


def _card(telling: Telling, family: tuple[Parent, ...]) -> str:
    named = ", ".join(plain(parent.name) for parent in family)
    lines = (
        front_matter(family, (telling.word, "ligate")),
        f"# {named}, {plain(telling.word)}\n",
        f"{telling.sentence} Made with [Ligate](https://pypi.org/project/ligate/) {versions()['ligate']}; "
        "`ligate verify` checks every tensor against `ligate.json`.",
        *notes(family),
        "",
    )
    return "\n".join(lines)


def private(path: Path) -> None:
    """Only its owner may read the file, where the system knows such things."""
    os.chmod(path, 0o600)
