"""ligate.json: what went into a result, what was done to it, and digests that prove both.

Written so that the same merge gives the same bytes anywhere: no time, host, path or number of threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError, VerifyError
from ligate.core.method import Card
from ligate.core.tensors import Header

from . import digest
from .blocks import SEGMENT, cut
from .plan import Operand, Out, Plan

if TYPE_CHECKING:
    from .run import TensorResult

NAME = "ligate.json"
FORMAT = 1
_SEAL = ',\n"seal": '


class Input(NamedTuple):
    """A tensor that was read: of which source, under which name, with which digest (None: merged without hashing)."""

    label: str
    name: str
    digest: str | None


@dataclass(frozen=True)
class Entry:
    """One tensor of a result. `segment` is the number of elements that were hashed together."""

    header: Header
    digest: str | None
    segment: int
    method: str | None  # None: copied
    base: Input | None
    tuned: tuple[Input, ...]
    params: Mapping[str, Any]
    stats: Mapping[str, Any]
    measured: Mapping[str, tuple[Input, ...]] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Input, ...]:
        measured = (one for each in self.measured.values() for one in each)
        return (*((self.base,) if self.base else ()), *self.tuned, *measured)


@dataclass(frozen=True)
class StepRecord:
    """One merge of a recipe; `name` is None for the one that made the output."""

    name: str | None
    plan: str
    tensors: Mapping[str, Entry]
    dropped: tuple[tuple[str, str], ...]  # (label, tensor) left out by request


@dataclass(frozen=True)
class Record:
    """A whole merge. `sources` holds what is known of each source besides its digests; `files` all other files."""

    versions: Mapping[str, str]
    recipe: Mapping[str, Any]
    sources: Mapping[str, Mapping[str, Any]]
    steps: tuple[StepRecord, ...]  # the last one made the output
    metadata: Mapping[str, str]  # of the safetensors headers
    files: Mapping[str, str]

    @property
    def tensors(self) -> Mapping[str, Entry]:
        return self.steps[-1].tensors

    @property
    def hashed(self) -> bool:
        return all(entry.digest is not None for entry in self.tensors.values())

    def digest(self) -> str | None:
        """One digest of all tensors of the output; None when they were not hashed."""
        return model_digest({name: entry.digest for name, entry in self.tensors.items()})

    def input_digests(self, label: str) -> dict[str, str | None]:
        """Digest of every tensor that was read from a source."""
        entries = (entry for step in self.steps for entry in step.tensors.values())
        return {one.name: one.digest for entry in entries for one in entry.inputs if one.label == label}


class Mismatch(NamedTuple):
    """Something that is not as recorded: `kind` is tensor, file or metadata."""

    kind: str
    name: str
    problem: str


def step_record(
    plan: Plan,
    plan_digest: str,
    name: str | None,
    results: Mapping[str, TensorResult],
    lookup: Callable[[str], Card],
) -> StepRecord:
    """A finished step: its plan, that plan's digest, and the engine's results."""
    cards = {method: lookup(method) for method in {out.method for out in plan.outs} if method}

    def entry(out: Out) -> Entry:
        result = results[out.name]

        def read(operands: Sequence[Operand]) -> tuple[Input, ...]:
            return tuple(Input(plan.sources[o.source], o.name, result.operands[o]) for o in operands)

        base = read([out.base])[0] if out.base else None
        measured = {keyword: read(operands) for keyword, operands in out.measured.items()}
        segment = cut(out.shape, cards[out.method].reach if out.method and 0 not in out.shape else "block").segment
        known = (out.params, result.stats, measured)
        return Entry(out.header, result.digest, segment, out.method, base, read(out.tuned), *known)

    dropped = tuple((plan.sources[operand.source], operand.name) for operand in plan.dropped)
    return StepRecord(name, plan_digest, {out.name: entry(out) for out in plan.outs}, dropped)


def model_digest(tensors: Mapping[str, str | None]) -> str | None:
    """One digest of named tensors, whatever their order."""
    if any(value is None for value in tensors.values()):
        return None
    state = digest.hasher()
    for name in sorted(tensors):
        state.update(f"{name}\0{tensors[name]}\n".encode())
    return digest.of_segment(state).hex()


def check(
    record: Record,
    tensors: Mapping[str, tuple[Header, str | None]],
    metadata: Mapping[str, str],
    files: Mapping[str, str],
) -> list[Mismatch]:
    """All that is not as recorded. A tensor's found digest may be None where it was not computed."""
    found = [*_tensor_mismatches(record, tensors)]
    for name, recorded in record.files.items():
        if name not in files:
            found.append(Mismatch("file", name, "is missing"))
        elif files[name] != recorded:
            found.append(Mismatch("file", name, "has changed"))
    found += [Mismatch("file", name, "is not part of this merge") for name in files if name not in record.files]
    if dict(metadata) != dict(record.metadata):
        found.append(Mismatch("metadata", "safetensors header", "has changed"))
    return found


def _tensor_mismatches(record: Record, tensors: Mapping[str, tuple[Header, str | None]]) -> list[Mismatch]:
    found: list[Mismatch] = []
    for name, entry in record.tensors.items():
        if name not in tensors:
            found.append(Mismatch("tensor", name, "is missing"))
            continue
        header, computed = tensors[name]
        if header[:2] != entry.header[:2]:
            found.append(Mismatch("tensor", name, f"is {_spoken(header)}, was {_spoken(entry.header)}"))
        elif computed != entry.digest and computed is not None and entry.digest is not None:
            found.append(Mismatch("tensor", name, f"has changed: digest {computed}, was {entry.digest}"))
    return found + [Mismatch("tensor", name, "is new") for name in tensors if name not in record.tensors]


def _spoken(header: Header) -> str:
    return f"{header.dtype} {list(header.shape)}"


def to_text(record: Record) -> str:
    """The file's text: readable, one tensor a line, the same for the same record, closed by its seal."""
    top = {
        "format": FORMAT,
        "versions": record.versions,
        "digest": record.digest(),
        "recipe": record.recipe,
        "sources": {label: _source(record, label) for label in record.sources},
        "metadata": record.metadata,
        "files": record.files,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(_plain(value), indent=1)}" for key, value in top.items()]
    steps = ",\n".join(_step_text(step) for step in record.steps)
    return _sealed("{\n" + ",\n".join((*lines, f'"steps": [\n{steps}\n]')))


def _sealed(body: str) -> str:
    """The whole text. The seal is the digest of all that stands before it: it tells a change, not who made it."""
    state = digest.hasher()
    state.update(body.encode())
    return f"{body}{_SEAL}{json.dumps(digest.of_segment(state).hex())}\n}}\n"


def _source(record: Record, label: str) -> dict[str, Any]:
    read = record.input_digests(label)
    return {**record.sources[label], "tensors": len(read), "digest": model_digest(read)}


def _step_text(step: StepRecord) -> str:
    """Parameters are stored once however many tensors share them."""
    known: dict[str, int] = {}
    tensors = [
        f"{json.dumps(name)}: {_line(_entry(entry, known.setdefault(_line(entry.params), len(known))))}"
        for name, entry in step.tensors.items()
    ]
    parts = (
        f'"name": {json.dumps(step.name)}',
        f'"plan": {json.dumps(step.plan)}',
        f'"dropped": {_line(step.dropped)}',
        '"parameters": [\n' + ",\n".join(known) + "\n]",
        '"tensors": {\n' + ",\n".join(tensors) + "\n}",
    )
    return "{\n" + ",\n".join(parts) + "\n}"


def _entry(entry: Entry, params: int) -> dict[str, Any]:
    data: dict[str, Any] = {"dtype": entry.header.dtype, "shape": entry.header.shape, "digest": entry.digest}
    if entry.segment != SEGMENT:
        data["segment"] = entry.segment
    data["method"] = entry.method
    if entry.method:
        data["parameters"] = params
    if entry.base:
        data["base"] = entry.base
    data["models"] = entry.tuned
    if entry.measured:
        data["measured"] = entry.measured
    if entry.stats:
        data["stats"] = entry.stats
    return data


_ENCODER = json.JSONEncoder(allow_nan=False)


def _line(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError):  # it is not plain data already, as nearly all of it is
        return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    """What is not finite becomes a word: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_text(text: str, where: str = NAME) -> Record:
    """The record in a text that `to_text` wrote.

    Raises:
        InputError: the text is no record, or of a format that this version does not know.
        VerifyError: it contradicts itself, or is not as it was written.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", where=where, hint="the file was changed or cut off.") from None
    if not isinstance(data, dict) or "format" not in data:
        raise InputError("no record of a merge", where=where)
    if data["format"] != FORMAT:
        hint = "install the version of Ligate that wrote it, or a newer one."
        raise InputError(f"format {data['format']}, this version knows {FORMAT}", where=where, hint=hint)
    try:
        record, told = _read(data), data["digest"]
        fits = told == record.digest()
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        problem = f"no complete record ({type(error).__name__}: {error})"
        raise InputError(problem, where=where, hint="the file was changed.") from None
    if not fits:
        hint = "the record itself was changed."
        raise VerifyError("its digest is not that of the tensors it lists", where=where, hint=hint)
    _check_seal(text, where)
    return record


def _check_seal(text: str, where: str) -> None:
    body, seal, _ = text.rpartition(_SEAL)
    hint = "put the original back, or merge again."
    if not seal:
        raise VerifyError("has no seal: it was changed, or not written by Ligate", where=where, hint=hint)
    if text != _sealed(body):
        raise VerifyError("was changed after it was written: its seal does not fit", where=where, hint=hint)


def _read(data: Mapping[str, Any]) -> Record:
    sources = {
        label: {key: value for key, value in facts.items() if key not in ("tensors", "digest")}
        for label, facts in data["sources"].items()
    }
    steps = tuple(map(_read_step, data["steps"]))
    return Record(data["versions"], data["recipe"], sources, steps, data["metadata"], data["files"])


def _read_step(data: Mapping[str, Any]) -> StepRecord:
    tensors = {name: _read_entry(entry, data["parameters"]) for name, entry in data["tensors"].items()}
    return StepRecord(data["name"], data["plan"], tensors, tuple((label, name) for label, name in data["dropped"]))


def _read_entry(data: Mapping[str, Any], params: Sequence[Mapping[str, Any]]) -> Entry:
    return Entry(
        Header(data["dtype"], tuple(map(int, data["shape"]))),
        data["digest"],
        int(data.get("segment", SEGMENT)),
        data["method"],
        Input(*data["base"]) if "base" in data else None,
        tuple(Input(*one) for one in data["models"]),
        params[data["parameters"]] if data["method"] else {},
        data.get("stats", {}),
        {keyword: tuple(Input(*one) for one in each) for keyword, each in data.get("measured", {}).items()},
    )
