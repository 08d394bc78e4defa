"""What `ligate.json` says of a merge, held against what the weights say.

A record is sealed against accidents, not against a liar, who can write a new one. Digests of sources that lie in the
same folder tell which models a record means; the trace tells which models went in, and the weights of a linear merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import LigateError
from ligate.core.tensors import Source
from ligate.engine import digest
from ligate.engine.record import NAME, Entry, Record

from .outcome import read_record
from .verify import segment_digest

if TYPE_CHECKING:
    from .trace import Member

_MERGED = ("merged", "selected", "singular")
_APART = 0.05  # of a weight: more is another weight
_SURE = 0.9
_LOOKED_AT = 1 << 22  # elements of one tensor: larger ones are not read again to tell sources apart


def findings(
    folders: Mapping[str, Path], members: Sequence[Member], sources: Mapping[str, Source]
) -> dict[str, tuple[str, ...]]:
    """Model -> what its record says wrongly, or what cannot be checked; models without a record are left out."""
    found: dict[str, tuple[str, ...]] = {}
    digests = _Digests(sources)
    for member in members:
        if not (folders[member.name] / NAME).is_file():
            continue
        try:
            record = read_record(folders[member.name])
        except LigateError as error:
            found[member.name] = (f"its record cannot be believed: {error}",)
            continue
        found[member.name] = tuple(_of(member, record, digests))
    return {name: told for name, told in found.items() if told}


class _Digests:
    """Digests of tensors that lie here, each computed once."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self._known: dict[tuple[str, str, int], str | None] = {}

    def of(self, model: str, tensor: str, segment: int) -> str | None:
        key = (model, tensor, segment)
        if key not in self._known:
            header = self.sources[model].headers().get(tensor)
            self._known[key] = None if header is None else _digest(self.sources[model], tensor, segment)
        return self._known[key]

    def meant(self, record: Record, label: str) -> str | None:
        """The model here that has all digests which the record gives for a source."""
        read = [
            (one.name, entry.segment, one.digest)
            for step in record.steps
            for entry in step.tensors.values()
            for one in entry.inputs
            if one.label == label and one.digest and entry.header.numel <= _LOOKED_AT
        ]
        wanted = sorted(set(read))
        if not wanted:
            return None
        return next(
            (model for model in self.sources if all(self.of(model, name, cut) == told for name, cut, told in wanted)),
            None,
        )


def _digest(source: Source, tensor: str, segment: int) -> str:
    numel = source.headers()[tensor].numel
    starts = range(0, max(numel, 1), segment)
    return digest.of_tensor(segment_digest(source, tensor, start, min(start + segment, numel)) for start in starts)


def _of(member: Member, record: Record, digests: _Digests) -> list[str]:
    others = [name for name, entry in record.tensors.items() if _changed(member.name, name, entry, digests)]
    if others:
        return [f"its weights are not those that its record tells of: {others[0]!r} and {len(others) - 1} more differ"]
    step = record.steps[-1]
    labels = sorted({one.label for entry in step.tensors.values() for one in entry.inputs})
    meant = {label: digests.meant(record, label) for label in labels}
    claimed = {model for model in meant.values() if model}
    missing = [label for label, model in meant.items() if model is None]
    seen = {link.name: link for link in member.parents if link.confidence >= _SURE}
    told = [
        f"{name} went in with the confidence {link.confidence:.2f}, and its record does not name it"
        for name, link in seen.items()
        if name not in claimed and member.kind in _MERGED and (link.role == "parent" or not missing)
    ]
    if member.kind == "merged":
        told += [f"its record names {name}, and the weights show nothing of it" for name in sorted(claimed - set(seen))]
        told += _weights(member, record, {model: label for label, model in meant.items() if model})
    if told and missing:
        told.append(f"of the sources that its record names, {', '.join(missing)} are not here")
    return told


def _changed(model: str, tensor: str, entry: Entry, digests: _Digests) -> bool:
    if entry.digest is None or entry.header.numel > _LOOKED_AT:
        return False
    return digests.of(model, tensor, entry.segment) != entry.digest


def _weights(member: Member, record: Record, labels: Mapping[str, str]) -> list[str]:
    """Weights of a single linear step that are others than recorded."""
    claimed = _claimed_weights(record)
    told: list[str] = []
    for link in member.parents:
        weight = claimed.get(labels.get(link.name, ""))
        if weight is not None and link.weight is not None and abs(weight - link.weight) > _APART:
            told.append(f"{link.name} has the weight {link.weight:.3f}, its record says {weight:.3f}")
    return told


def _claimed_weights(record: Record) -> dict[str, float]:
    """Label -> its share in every tensor, where the record tells of one linear merge with one set of weights."""
    found: list[dict[str, float]] = []
    for entry in record.tensors.values():
        if entry.method in ("merge/linear", "merge/task_arithmetic") and entry.tuned:
            found.append(_shares(entry))
    same = all(each.keys() == found[0].keys() and _near(each, found[0]) for each in found)
    return found[0] if found and same and len(record.steps) == 1 else {}


def _near(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    return all(abs(a[label] - b[label]) < 1e-6 for label in a)


def _shares(entry: Entry) -> dict[str, float]:
    labels = [one.label for one in entry.tuned]
    weights = _numbers(entry.params.get("weight", 1.0), len(labels))
    total = sum(weights)
    if entry.params.get("normalize", entry.method == "merge/linear") and total:
        weights = [weight / total for weight in weights]
    scale = float(entry.params.get("scale", 1.0))
    shares = {label: scale * weight for label, weight in zip(labels, weights, strict=True)}
    if entry.base:
        shares[entry.base.label] = shares.get(entry.base.label, 0.0) + 1 - sum(shares.values())
    return shares


def _numbers(value: Any, count: int) -> list[float]:
    return [float(one) for one in value] if isinstance(value, (list, tuple)) else [float(value)] * count
