"""The work of a merge once it is planned: step by step into the workplace, then the files beside, then the name."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ligate.core.errors import StorageError
from ligate.core.tensors import Source
from ligate.engine import journal as journals
from ligate.engine import record as records
from ligate.engine.record import StepRecord
from ligate.engine.run import run
from ligate.io import open_source
from ligate.io.folder import file_stem, stems
from ligate.io.publish import aside_of, discard, publish
from ligate.io.writer import FolderSink
from ligate.recipe.resolve import donor, is_one_file
from ligate.recipe.schema import Recipe

from .alignments import save_all, saved_in
from .beside import write_file
from .model_card import licence_note
from .outcome import draft_record, log_text, parents, read_record, write_record, write_sidecars
from .preflight import Stage
from .sources import Sources, labels_of_step, open_spec
from .stamps import refuse_changed
from .undertaking import Undertaking
from .watch import Watch
from .workplace import Workplace, log_of, write_text


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    out: str
    digest: str | None  # of all tensors; None without hashing
    tensors: int
    dropped: int
    nbytes: int  # written
    seconds: float
    notes: tuple[str, ...]


def execute(job: Undertaking, place: Workplace, watch: Watch) -> Merged:
    """Run every step, write what lies beside the weights, give the output its name."""
    began = time.time()
    family = parents(job.recipe, job.sources)
    notes = (*job.notes, *filter(None, [licence_note(family)]))
    for note in notes:
        watch.note(note)
    with _kept_or_removed(place):
        steps = _run_stages(job, place, watch)
        refuse_changed(place.read_start()["inputs"])  # a tensor may have been read twice
        write_sidecars(job.recipe, job.vocabulary, job.config_edits, place.model)
        save_all(job.alignments, place.model)
        last = job.stages[-1]
        recipe = saved_in(job.recipe, job.out, job.alignments)
        draft = draft_record(recipe, steps, _metadata_of(place.model), job.lookup, job.alignments)
        record = write_record(draft, family, place.model)
        write_text(place.log, log_text(recipe, record, asdict(job.how), began, time.time()))
        publish(place.model, job.out, job.how.overwrite, fsync=job.how.fsync)
    settle(place)
    seconds = time.time() - began
    dropped = len(last.plan.dropped)
    return Merged(str(job.out), record.digest(), len(record.tensors), dropped, last.forecast.written, seconds, notes)


def _metadata_of(folder: Path) -> Mapping[str, str]:
    """As it was written; opening the result also shows that it can be read."""
    with closing(open_source(str(folder), label="result")) as source:
        return dict(source.metadata())


def settle(place: Workplace) -> None:
    """The output has its name: put the log beside it, clear the workplace, and remove what was replaced."""
    discard(aside_of(place.out))
    if place.log.exists():
        write_text(log_of(place.out), place.log.read_text("utf-8"))
    place.remove()


@contextmanager
def _kept_or_removed(place: Workplace) -> Generator[None]:
    """After an interruption or trouble with the disk what is done stays, and the error says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, StorageError, OSError, MemoryError) as stop:
        if not place.has_progress():
            place.remove()
            raise
        stop.add_note(f"what is done is kept; go on with: ligate resume {place.out}")
        raise
    except BaseException:
        place.remove()
        raise


def _run_stages(job: Undertaking, place: Workplace, watch: Watch) -> tuple[StepRecord, ...]:
    """Every step in order; results of earlier ones are opened as sources for the later."""
    sources, results = dict(job.sources), Sources()
    watch.begin("merging", sum(stage.forecast.read + stage.forecast.written for stage in job.stages))
    try:
        found: list[StepRecord] = []
        for number, stage in enumerate(job.stages, 1):
            name = stage.step.name if stage is not job.stages[-1] else None
            if name is None:
                found.append(_run_stage(job, place.model, place.journal(number), stage, sources, watch))
                break
            found.append(_earlier_stage(job, place, number, stage, sources, watch))
            for label in labels_of_step(job.recipe, name):
                results[label] = sources[label] = _result_source(job.recipe, label, place.step(name))
        return tuple(found)
    finally:
        results.close()
        watch.end()


def _result_source(recipe: Recipe, label: str, folder: Path) -> Source:
    spec = recipe.sources.get(label)
    return open_spec(spec, str(folder)) if spec else open_source(str(folder), label=label)


def _earlier_stage(
    job: Undertaking, place: Workplace, number: int, stage: Stage, sources: Mapping[str, Source], watch: Watch
) -> StepRecord:
    """A whole merge of its own, named when it is complete; one that is there already is not made again."""
    folder = place.step(stage.step.name or "")
    if folder.is_dir():
        done = read_record(folder).steps[-1]
        if done.plan == stage.digest:
            return done
    growing = folder.with_name(folder.name + ".partial")
    step = _run_stage(job, growing, place.journal(number), stage, sources, watch)
    draft = draft_record(job.recipe, (step,), stage.plan.metadata, job.lookup)
    write_file(growing / records.NAME, records.to_text(draft))
    os.replace(growing, folder)
    return step


def _run_stage(
    job: Undertaking, folder: Path, journal_path: Path, stage: Stage, sources: Mapping[str, Source], watch: Watch
) -> StepRecord:
    plan = stage.plan
    claims = _claims(journal_path, stage.digest)
    headers = {out.name: out.header for out in plan.outs}
    journal = journals.Journal(journal_path)
    sink = FolderSink(
        folder,
        headers,
        shard_bytes=plan.shard_bytes,
        metadata=plan.metadata,
        stems=_stems(job, stage),
        eager=job.how.fsync,
    )
    try:
        if claims is None:
            journal.begin({"plan": stage.digest})
        results = run(
            plan,
            [sources[label] for label in plan.sources],
            job.lookup,
            sink,
            threads=job.how.threads,
            memory=job.how.memory,
            hashing=job.how.hashing,
            allow_nonfinite=job.how.allow_nonfinite,
            device=job.how.device,
            journal=journal,
            claims=claims,
            progress=watch.advance,
        )
        sink.finish(job.how.fsync)
    finally:
        sink.close()
        journal.close()
    name = stage.step.name if stage is not job.stages[-1] else None
    return records.step_record(plan, stage.digest, name, results, job.lookup)


def _stems(job: Undertaking, stage: Stage) -> Mapping[str, str]:
    """The weight files are called as the donor's, whose loaders expect that; a single file as its folder."""
    giver = job.sources[donor(job.recipe, stage.step)]
    if giver.folder:
        return stems(giver.folder)
    named = is_one_file(giver) and stage is job.stages[-1]
    return {"": file_stem(os.path.basename(os.path.abspath(job.out))) if named else "model"}


def _claims(path: Path, plan: str) -> journals.Claims | None:
    """What an interrupted run of the same plan (its digest) journalled; a journal of anything else is begun anew."""
    claims = journals.read(path)
    if claims is None or claims.head.get("plan") != plan:
        path.unlink(missing_ok=True)
        return None
    return claims
