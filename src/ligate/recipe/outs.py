"""One row of a part becomes one `Out`, when the headers of its tensors allow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import MERGEABLE, Header, Source
from ligate.engine.plan import Operand, Out
from ligate.io.views import prefix_between

from .architecture import is_vocabulary, tied_to
from .findings import Findings, counted, listed
from .parts import Headers, Part, Row
from .settings import Values

Store = Callable[[str, str, Header], str]
"""(label, tensor name, header) -> the dtype in which a result made of it is stored."""


class Maker:
    """Makes the outs of one part. `index` numbers the labels as the plan does."""

    def __init__(
        self, part: Part, sources: Mapping[str, Source], headers: Headers, index: Mapping[str, int], store: Store
    ) -> None:
        self.part = part
        self.sources = sources
        self.headers = headers
        self.held = [headers[label] for label in part.labels]
        self.index = [index[label] for label in part.labels]
        self.store = store
        self.values = Values(part.card, part.settings, part.models, part.place) if part.card else None

    def out(self, row: Row, findings: Findings) -> Out | None:
        """None where something is wrong; `findings` then knows what."""
        if None in row.inputs:
            self._tell_missing(row, findings)
            return None
        names = [name for name in row.inputs if name is not None]
        found = [tensors[name] for tensors, name in zip(self.held, names, strict=True)]
        if not self._alike(names, found, findings):
            return None
        operands = [Operand(index, name) for index, name in zip(self.index, names, strict=True)]
        base, tuned = (operands[0], operands[1:]) if self.part.base else (None, operands)
        first = found[0]
        if first.dtype not in MERGEABLE:
            return Out(row.name, first.dtype, first.shape, None, tuple(tuned), base)
        params = self.values.at(row.name, names[-len(tuned) :], row.depth, findings) if self.values else {}
        method = self.part.card.id if self.part.card else None
        dtype = self.store(self.part.labels[0], names[0], first)
        return Out(row.name, dtype, first.shape, method, tuple(tuned), base, params)

    def _alike(self, names: Sequence[str], found: Sequence[Header], findings: Findings) -> bool:
        """Whether the tensors may be combined: one shape, all floating or all the same other dtype."""
        first = found[0]
        if all(header is first or header == first for header in found) and not _quantised(first, found):
            return True
        fine = True
        for place, (label, name, header) in enumerate(zip(self.part.labels, names, found, strict=True)):
            if header.shape != first.shape:
                self._tell_shape(label, name, header, names[0], first, findings)
                fine = False
            if _quantised(header, found) or not _compatible(first, header):
                self._tell_dtype(label, name, header, first, place, findings)
                fine = False
        return fine

    def _tell_shape(
        self, label: str, name: str, header: Header, first_name: str, first: Header, findings: Findings
    ) -> None:
        lead = self.part.labels[0]
        where = self._where(label, name)
        rows = header.shape[:1] + first.shape[:1]
        if is_vocabulary(name) and header.shape[1:] == first.shape[1:] and len(rows) == 2:
            problem = f"the vocabularies differ: {rows[0]:,} rows here, {rows[1]:,} in `{lead}`"
            union = "`output: {tokenizer: union}` or `--tokenizer union`"
            hint = f"say which tokenizer the result gets: {union}; in place of union, a model's label"
        else:
            problem = f"shape {_spoken(header.shape)} here, {_spoken(first.shape)} in `{lead}`"
            hint = "only models of the same architecture and width can be merged tensor by tensor"
            if _channels_differ(header, first):
                hint = "give each narrower source `fill: WIDER`; it then takes the missing channels from that one"
        kind = ("shape", label, header.shape, first.shape, hint)
        findings.repeated(kind, name, lambda names: InputError(f"{listed(names)}: {problem}", where=where, hint=hint))

    def _tell_dtype(self, label: str, name: str, header: Header, first: Header, place: int, findings: Findings) -> None:
        where = self._where(label, name)
        if header.dtype.startswith("F8"):
            problem, hint = f"{header.dtype} numbers without their scales cannot be merged", "use the unquantised model"
        elif place:
            problem = f"dtype {header.dtype} here, {first.dtype} in `{self.part.labels[0]}`"
            hint = "tensors that are not floating point are copied, and must be the same in all models"
        else:
            return  # the first model is the measure; what differs from it is told where it stands
        kind = ("dtype", label, header.dtype, first.dtype)
        findings.repeated(kind, name, lambda names: InputError(f"{listed(names)}: {problem}", where=where, hint=hint))

    def _tell_missing(self, row: Row, findings: Findings) -> None:
        """Say it of those who lack the tensor, or of the few that alone have it."""
        lacking = [label for label, name in zip(self.part.labels, row.inputs, strict=True) if name is None]
        having = [label for label in self.part.labels if label not in lacking]
        if any(label in self._prefixed for label in self.part.labels):
            for label, prefix in self._prefixed.items():
                findings.add(_told_prefix(label, prefix))
            return
        if len(having) < len(lacking) or (len(having) == len(lacking) and self.part.labels[0] in lacking):
            self._tell_extra(row, having, lacking, findings)
            return
        hint = self._remedy(row.name, lacking[0])
        for label in lacking:
            findings.repeated(("missing", label, tuple(having), hint), row.name, _missing(label, having, hint))

    @cached_property
    def _prefixed(self) -> Mapping[str, str]:
        """Models whose names differ from another model's by a known prefix, with that prefix."""
        labels = self.part.labels
        pairs = [(label, labels[0] if number else labels[-1]) for number, label in enumerate(labels)]
        found = {one: prefix_between(self.headers[one], self.headers[other]) for one, other in pairs}
        return {label: prefix for label, prefix in found.items() if prefix}

    def _tell_extra(self, row: Row, having: Sequence[str], lacking: Sequence[str], findings: Findings) -> None:
        name = next(name for name in row.inputs if name is not None)
        where = self._where(having[0], name)
        hint = self._remedy(row.name, lacking[0])

        def tell(names: Sequence[str]) -> LigateError:
            text = f"{_labels(having)} {_has(having)} {counted(names)} that {_labels(lacking)} {_lacks(lacking)}"
            return InputError(f"{text}: {listed(names)}", where=where, hint=hint)

        findings.repeated(("extra", tuple(having), tuple(lacking), hint), row.name, tell)

    def _remedy(self, name: str, label: str) -> str:
        other = next((other for other in tied_to(name) if other in self.headers[label]), None)
        if other:
            return f"`{label}` ties it to another tensor: give that source `alias: {{{name}: {other}}}`"
        return "leave them out on request: `output: {drop: [PATTERN]}`, or `--drop PATTERN`"

    def _where(self, label: str, name: str) -> str:
        place = self.sources[label].place(name)
        return f"model {label}, {place}" if place else f"model {label}"


def _missing(label: str, having: Sequence[str], hint: str) -> Callable[[Sequence[str]], LigateError]:
    def tell(names: Sequence[str]) -> LigateError:
        text = f"lacks {counted(names)} that {_labels(having)} {_has(having)}: {listed(names)}"
        return InputError(text, where=f"model {label}", hint=hint)

    return tell


def _told_prefix(label: str, prefix: str) -> LigateError:
    text = "its tensor names only differ from those of the other models by a prefix"
    hint = f'give the source `{label}` `strip_prefix: "{prefix}"`, or `--strip-prefix {label}={prefix}`'
    return InputError(text, where=f"model {label}", hint=hint)


def _channels_differ(header: Header, first: Header) -> bool:
    """Whether these are convolutions that only differ in how many channels go in."""
    one, other = header.shape, first.shape
    return len(one) == len(other) == 4 and one[0] == other[0] and one[2:] == other[2:]


def _compatible(first: Header, other: Header) -> bool:
    return other.dtype == first.dtype or (first.dtype in MERGEABLE and other.dtype in MERGEABLE)


def _quantised(header: Header, found: Sequence[Header]) -> bool:
    """8-bit floats mean nothing without scales, unless a tensor is only copied."""
    return len(found) > 1 and header.dtype.startswith("F8")


def _labels(labels: Sequence[str]) -> str:
    return " and ".join(f"`{label}`" for label in labels)


def _has(labels: Sequence[str]) -> str:
    return "has" if len(labels) == 1 else "have"


def _lacks(labels: Sequence[str]) -> str:
    return "lacks" if len(labels) == 1 else "lack"


def _spoken(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"
