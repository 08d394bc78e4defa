"""Measured operands of a step: tensors that somebody measured or learned from data, which its rule takes by keyword."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.method import Card
from ligate.core.suggest import nearest
from ligate.core.tensors import MERGEABLE, Header, Source
from ligate.engine.plan import Operand, Out

from .findings import Findings, counted, listed
from .parts import Part, Row
from .schema import MeasuredSpec, Place, Step


def unknown(cards: Sequence[Card], step: Step) -> list[LigateError]:
    """Keywords that none of the methods takes."""
    known = tuple(dict.fromkeys(name for card in cards for name in card.measured))
    methods = " or ".join(f"`{card.id}`" for card in cards)
    wrong = {spec.name: spec for spec in reversed(step.measured) if spec.name not in known}
    return [
        RecipeError(
            f"{methods} takes no measured `{name}`",
            where=str(spec.place),
            hint=nearest(name, known) if known else "leave it out, or use a method that takes it.",
        )
        for name, spec in wrong.items()
    ]


def complaints(card: Card, step: Step, models: Sequence[str]) -> list[LigateError]:
    """Measured sources given for the wrong ones: for models that are not merged, or not by model as the card wants."""
    found: list[LigateError] = []
    for spec in step.measured:
        whose, where = card.measured.get(spec.name), str(spec.place)
        if whose == "model" and spec.model is None:
            text = f"`{spec.name}` of `{card.id}` is measured for each model"
            found.append(RecipeError(text, where=where, hint=_form(spec.name, models)))
        elif whose == "step" and spec.model is not None:
            text = f"`{spec.name}` of `{card.id}` is one for all models"
            found.append(RecipeError(text, where=where, hint=f"write `{spec.name}: PATH`"))
        elif whose == "model" and spec.model not in models and not step.slices:
            text = f"`{spec.name}` is given for `{spec.model}`, which is not merged here"
            found.append(RecipeError(text, where=where, hint=nearest(spec.model or "", models)))
    return found


def lacking(card: Card, step: Step, models: Sequence[str], place: Place) -> list[LigateError]:
    """Keywords of the method that nothing is given for."""
    found: list[LigateError] = []
    for name, whose in card.measured.items():
        given = [spec for spec in step.measured if spec.name == name]
        without = [label for label in models if label not in [spec.model for spec in given]]
        if given and (whose == "step" or not without or any(spec.model is None for spec in given)):
            continue
        whom = f" of {', '.join(without)}" if given else ""
        form = _form(name, models) if whose == "model" else f"under `measured:` write `{name}: PATH`"
        where = str(given[0].place if given else place)
        found.append(RecipeError(f"`{card.id}` needs a measured `{name}`{whom}", where=where, hint=form))
    return found


def _form(name: str, models: Sequence[str]) -> str:
    return f"under `measured:` write `{name}: {{{', '.join(f'{label}: PATH' for label in models)}}}`"


class Measurements:
    """The measured sources of a step, and which of their tensors go into which tensor of the result."""

    def __init__(self, step: Step, sources: Mapping[str, Source], labels: Sequence[str]) -> None:
        self._specs = {(spec.name, spec.model): spec for spec in step.measured}
        self.labels = tuple(dict.fromkeys(spec.source for spec in step.measured if spec.source not in labels))
        self._index = {label: number for number, label in enumerate((*labels, *self.labels))}
        self._sources = sources
        self._headers = {spec.source: sources[spec.source].headers() for spec in step.measured}
        self._asked: set[str] = set()  # keywords that a method of the step takes
        self._met: set[str] = set()  # labels of sources that hold tensors of the merge

    def added(self, part: Part, row: Row, out: Out, findings: Findings) -> Out:
        """The out with its measured operands; what does not fit is added to `findings`."""
        if part.card is None or out.method is None or out.header.numel == 0:
            return out
        names = dict(zip(part.models, row.inputs[-len(part.models) :], strict=True))
        found: dict[str, tuple[Operand, ...]] = {}
        self._asked |= set(part.card.measured)
        for keyword, whose in part.card.measured.items():
            asked = {None: row.name} if whose == "step" else names
            wanted = [
                (spec, name or row.name)
                for model, name in asked.items()
                if (spec := self._specs.get((keyword, model))) is not None
            ]
            operands = self._operands(wanted, part.card, out, findings)
            if operands:
                found[keyword] = operands
        return replace(out, measured=found) if found else out

    def check_met(self, findings: Findings) -> None:
        """A source none of whose tensors is used was measured on something else."""
        for spec in self._specs.values():
            if spec.name in self._asked and spec.source not in self._met:
                first = next(iter(self._headers[spec.source]), None)
                held = f"it holds `{first}`" if first else "it holds nothing"
                text = f"`{spec.name}`: no tensor of the merge is in `{spec.source}`; {held}"
                hint = "measure it on a model whose tensors have the same names"
                findings.add(InputError(text, where=str(spec.place), hint=hint))

    def _operands(
        self, wanted: Sequence[tuple[MeasuredSpec, str]], card: Card, out: Out, findings: Findings
    ) -> tuple[Operand, ...]:
        """All of them, or none where no source has the tensor."""
        having = [name in self._headers[spec.source] for spec, name in wanted]
        self._met |= {spec.source for (spec, _), has in zip(wanted, having, strict=True) if has}
        if not any(having):
            return ()
        for (spec, name), has in zip(wanted, having, strict=True):
            if not has:
                kind = ("unmeasured", spec.name, spec.source)
                findings.repeated(kind, name, partial(_told_lacking, spec))
                continue
            header = self._headers[spec.source][name]
            if header.dtype not in MERGEABLE or (card.reach != "tensor" and header.shape != out.shape):
                findings.add(self._misfit(spec, name, header, out))
        return tuple(Operand(self._index[spec.source], name) for spec, name in wanted) if all(having) else ()

    def _misfit(self, spec: MeasuredSpec, name: str, header: Header, out: Out) -> LigateError:
        place = self._sources[spec.source].place(name)
        where = f"{spec.place}, {place}, tensor {name}"
        if header.dtype not in MERGEABLE:
            text = f"`{spec.name}` is stored as {header.dtype}"
            return InputError(text, where=where, hint="store floating-point numbers, as float32.")
        text = f"`{spec.name}` has shape {list(header.shape)}, the tensor {list(out.shape)}"
        return InputError(text, where=where, hint="measure it again, on the model that is merged.")


def _told_lacking(spec: MeasuredSpec, names: Sequence[str]) -> LigateError:
    text = f"`{spec.name}`: `{spec.source}` lacks {counted(names)} that the others have: {listed(names)}"
    return InputError(text, where=str(spec.place), hint="measure all models alike.")
