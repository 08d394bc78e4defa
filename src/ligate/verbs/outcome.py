"""What a finished merge leaves besides numbers: configuration and tokenizer, model card, record, log."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ligate.align.alignment import Alignment
from ligate.core.errors import InputError, StorageError
from ligate.core.tensors import Source
from ligate.core.version import __version__
from ligate.engine import record as records
from ligate.engine.record import Record, StepRecord
from ligate.io.sidecars import place_sidecars
from ligate.recipe.schema import AdapterSpec, Recipe, SourceSpec

from .alignments import facts as alignment_facts
from .beside import file_digests, write_file
from .canonical import Lookup, adapter_label, canonical
from .model_card import NAME as CARD
from .model_card import model_card
from .parents import Parent, parent
from .sources import absolute, is_local
from .tokenizers import result_sidecars
from .vocabularies import Aligned
from .workplace import log_of


def versions() -> dict[str, str]:
    """Of everything that takes part in the arithmetic."""
    return {"ligate": __version__, "torch": version("torch"), "numpy": version("numpy")}


def parents(recipe: Recipe, sources: Mapping[str, Source]) -> tuple[Parent, ...]:
    """The sources that are models of their own, and the adapters laid over them."""
    found: list[Parent] = []
    for label, spec in recipe.sources.items():
        if label in sources and label not in recipe.measured:
            found.append(parent(label, _hub(spec), sources[label].folder))
            for number, adapter in enumerate(spec.adapters, 1):
                folder = Path(adapter.path).expanduser() if is_local(adapter.path) else None
                found.append(parent(adapter_label(label, number), _hub(adapter), folder, is_adapter=True))
    return tuple(found)


def write_sidecars(recipe: Recipe, vocabulary: Aligned, edits: Mapping[str, Any], folder: Path) -> None:
    """Configuration, tokenizer and code of the donor, with what the merge changed in them."""
    place_sidecars(result_sidecars(recipe, vocabulary, edits), folder)


def write_record(draft: Record, family: Sequence[Parent], folder: Path) -> Record:
    """The model card, then ligate.json, which knows the digests of all files but itself."""
    write_file(folder / CARD, model_card(draft, family))
    record = Record(draft.versions, draft.recipe, draft.sources, draft.steps, draft.metadata, file_digests(folder))
    write_file(folder / records.NAME, records.to_text(record))
    return record


def draft_record(
    recipe: Recipe,
    steps: Sequence[StepRecord],
    metadata: Mapping[str, str],
    lookup: Lookup,
    alignments: Mapping[str, Alignment] | None = None,
) -> Record:
    """The record before the files beside the weights are known."""
    facts = {label: _facts(spec, (alignments or {}).get(label)) for label, spec in recipe.sources.items()}
    return Record(versions(), canonical(recipe, lookup), facts, tuple(steps), metadata, {})


def log_text(recipe: Recipe, record: Record, settings: Mapping[str, Any], began: float, ended: float) -> str:
    """What differs from run to run, and where the sources lay: `replay` finds them by it."""
    log = {
        "digest": record.digest(),
        "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "seconds": round(ended - began, 3),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "settings": settings,
        "sources": {label: places(spec) for label, spec in recipe.sources.items()},
    }
    return json.dumps(log, indent=1, ensure_ascii=False) + "\n"


def places(spec: SourceSpec) -> dict[str, Any]:
    alignment = {"alignment": os.path.abspath(spec.align.path)} if spec.align else {}
    return {"path": absolute(spec.path), "adapters": [absolute(adapter.path) for adapter in spec.adapters], **alignment}


def read_record(out: str | os.PathLike[str]) -> Record:
    """The record in an output folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = Path(out) / records.NAME
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        hint = "give the output folder of a merge." if Path(out).exists() else "check the path."
        raise InputError(f"there is no {records.NAME}", where=str(out), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None
    return records.from_text(text, str(path))


def read_log(out: Path) -> Mapping[str, Any]:
    """The log beside an output; empty when there is none."""
    try:
        log = json.loads(log_of(out).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot be read: {error}", where=str(log_of(out))) from None
    return log if isinstance(log, dict) else {}


def _facts(spec: SourceSpec, alignment: Alignment | None) -> dict[str, Any]:
    """What a stranger needs to find the source again: nothing for a local path. And how it was aligned."""
    facts: dict[str, Any] = {"hub": _hub(spec), "revision": spec.revision}
    adapters = [{"hub": _hub(adapter), "revision": adapter.revision} for adapter in spec.adapters]
    aligned = alignment_facts(alignment, spec.align.to if spec.align else None) if alignment else None
    told = {**facts, "adapters": adapters, "alignment": aligned}
    return {key: value for key, value in told.items() if value}


def _hub(spec: SourceSpec | AdapterSpec) -> str | None:
    return None if is_local(spec.path) or "/" not in spec.path else spec.path
