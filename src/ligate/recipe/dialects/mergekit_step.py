"""One merge of a mergekit config becomes one step of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ligate.core.tensors import spoken_dtype
from ligate.recipe.nodes import Reading
from ligate.recipe.schema import Setting, Slice, SliceModel, Step

from . import mergekit_syntax as syntax
from .mergekit_methods import Rule, method_id
from .mergekit_references import Reference
from .mergekit_rules import Meant, rule
from .mergekit_syntax import Document, Given, Input

_DTYPES = ("float16", "bfloat16", "float32", "float64")


def step(reading: Reading, notes: list[str], merge: Document, labels: Mapping[Reference, str], *, last: bool) -> Step:
    """Problems go to `reading`, harmless oddities to `notes`; `labels` names the sources."""
    item = merge.fields.get("merge_method")
    known = rule(reading, item) if item is not None and merge.method else None
    if known is None:
        return Step("", _everyone(merge, labels), place=merge.place)
    _check_base(reading, merge, known)
    return _Lowering(reading, notes, merge, known, labels).step(last=last)


def _everyone(merge: Document, labels: Mapping[Reference, str]) -> tuple[str, ...]:
    """Who takes part in a merge by a method that nobody knows."""
    found = [merge.base, *(one.model for one in merge.inputs)]
    return tuple(dict.fromkeys(labels.get(one, one.path) for one in found if one))


def dtype(reading: Reading, merge: Document) -> str | None:
    """The dtype of the result: `out_dtype`, else `dtype`."""
    found = [_dtype(reading, merge, key) for key in ("out_dtype", "dtype")]
    return found[0] or found[1]


def _dtype(reading: Reading, merge: Document, key: str) -> str | None:
    item = merge.fields.get(key)
    written = reading.text(item, f"`{key}`")
    if item is None or not written:
        return None
    name = written.removeprefix("torch.")
    if name in _DTYPES:
        return spoken_dtype(name)
    near = [known for known in _DTYPES if spoken_dtype(known) == spoken_dtype(name)]
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_DTYPES)}"
    reading.problem(f"`{key}: {written}` is no dtype that a merge can be written in", item.place, hint)
    return None


def _check_base(reading: Reading, merge: Document, known: Rule) -> None:
    bases = [entry.base or merge.base for entry in merge.slices] or [merge.base]
    if known.base == "needed" and None in bases:
        hint = "the model that the others were made of"
        reading.problem(f"`{merge.method}` needs `base_model:`", merge.place, hint)


class _Lowering:
    def __init__(
        self, reading: Reading, notes: list[str], merge: Document, known: Rule, labels: Mapping[Reference, str]
    ) -> None:
        self.reading = reading
        self.merge = merge
        self.known = known
        self.labels = labels
        self.meant = Meant(reading, notes, merge.method)

    def step(self, *, last: bool) -> Step:
        merge = self.merge
        inputs = self._inputs()
        slices = tuple(self._slice(entry) for entry in merge.slices)
        self._check_required(inputs)
        base = self._base()
        everyone = [*inputs, *(one for entry in merge.slices for one in entry.inputs)]
        return Step(
            method_id(merge.method),
            tuple(label for label in dict.fromkeys(self._label(one.model) for one in everyone) if label != base),
            base,
            name=None if last else merge.name,
            settings=_reached((*self._own(inputs, merge.base), *self.meant.of_all(merge.given), *self._fixed())),
            slices=slices,
            dtype=None if last else dtype(self.reading, merge),
            place=merge.place,
        )

    def _label(self, reference: Reference) -> str:
        return self.labels.get(reference, reference.path)

    def _base(self) -> str | None:
        """Of the whole merge. Where every slice must have a base, the first one's gives the result its dtypes."""
        slices = self.merge.slices if self.known.base == "needed" else ()
        bases = [self.merge.base, *(entry.base for entry in slices)] if self.known.base else []
        return next((self._label(one) for one in bases if one), None)

    def _inputs(self) -> tuple[Input, ...]:
        """The models of the merge. Where the base is no origin, mergekit makes it one of the inputs."""
        merge = self.merge
        self._check_once(merge.inputs)
        listed = [one.model for one in merge.inputs]
        if self.known.base or merge.base is None or not merge.inputs or merge.base in listed:
            return merge.inputs
        base = Input(merge.base, None, (), merge.fields["base_model"].place)
        if merge.method == "passthrough":
            text = "`passthrough` takes one model, and `base_model` counts as another"
            self.reading.problem(text, base.place, "leave `base_model:` out")
        return (*merge.inputs, base)

    def _check_once(self, inputs: Sequence[Input]) -> None:
        seen: set[Reference] = set()
        for one in inputs:
            if one.model in seen:
                hint = "give it more weight instead"
                self.reading.problem(f"model `{_spoken(one.model)}` is listed twice", one.place, hint)
            seen.add(one.model)

    def _own(self, inputs: Sequence[Input], base: Reference | None) -> list[Setting]:
        """What stands under the models themselves: it precedes everything else."""
        return [
            setting
            for one in inputs
            for setting in self.meant.of_model(one.given, self._label(one.model), is_base=one.model == base)
        ]

    def _slice(self, entry: syntax.Slice) -> Slice:
        self._check_once(entry.inputs)
        base = (entry.base or self.merge.base) if self.known.base else None
        ranges = tuple(
            SliceModel(self._label(one.model), one.layers.first, one.layers.end, one.layers.place)
            for one in entry.inputs
            if one.layers
        )
        settings = _reached((*self._own(entry.inputs, base), *self.meant.of_all(entry.given, self.merge.given)))
        return Slice(ranges, settings, base=self._label(base) if base else None, place=entry.place)

    def _fixed(self) -> list[Setting]:
        whose = f"mergekit's `{self.merge.method}`"
        fixed = self.known.fixed.items()
        return [Setting(name, value, place=self.merge.place, default_of=whose) for name, value in fixed]

    def _check_required(self, inputs: Sequence[Input]) -> None:
        """A parameter without default must be given to each model: by itself, its slice or the whole config.

        Not asked where something is wrong already: a misspelt or misplaced `weight` would be told twice.
        """
        name = self.known.required
        if name is None or self.reading.problems:
            return
        groups = [(entry.inputs, entry.given, entry.base) for entry in self.merge.slices] or [(inputs, (), None)]
        for models, around, base in groups:
            if _gives(name, (*around, *self.merge.given)):
                continue
            if self.known.params[name].of == "merge":
                hint = "set it under `parameters:`; after filters a value without one"
                self.reading.problem(f"`{self.merge.method}` needs `{name}`", self.merge.place, hint)
                return
            origin = (base or self.merge.base) if self.known.base else None
            for one in models:
                if one.model != origin and not _gives(name, one.given):
                    self._tell_lacking(name, one)

    def _tell_lacking(self, name: str, one: Input) -> None:
        label = self._label(one.model)
        hint = f"set `{name}` under its `parameters:`, or for all models at the top; after filters a value without one"
        if one.model == self.merge.base and one not in self.merge.inputs:
            hint = f"`{self.merge.method}` merges the base with the others: list it with a `{name}`, or leave it out"
        self.reading.problem(f"`{self.merge.method}` needs `{name}` for `{label}`", one.place, hint)


def _reached(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Without what stands behind a value for every tensor of every model."""
    found: list[Setting] = []
    closed: set[str] = set()
    for setting in settings:
        if setting.name not in closed:
            found.append(setting)
        if setting.model is None and setting.match is None:
            closed.add(setting.name)
    return tuple(found)


def _gives(name: str, given: Sequence[Given]) -> bool:
    """Filters alone are not enough: some tensor may match none of them."""
    return any(one.name == name and one.filter is None for one in given)


def _spoken(reference: Reference) -> str:
    text = reference.path + (f"@{reference.revision}" if reference.revision else "")
    if reference.lora:
        text += f"+{reference.lora}" + (f"@{reference.lora_revision}" if reference.lora_revision else "")
    return text
