"""Layer ranges of models, one after another: the parts of a step that has slices.

Layers are renumbered from 0 in each stack. What lies outside the sliced stacks comes from the models of the stack's
first slice when it stands before the layers (embeddings), of its last slice when after them (final norm, head).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from ligate.core.errors import RecipeError
from ligate.core.layers import layers
from ligate.core.method import Card
from ligate.core.suggest import nearest

from .architecture import before_layers, position, shared_in_first
from .findings import Findings
from .parts import Headers, Part, Row, same_name_rows
from .schema import Slice, SliceModel, Step

Layers = Mapping[str, Mapping[int, Mapping[str, str]]]
"""Of one model: stack, layer number, rest of the name -> whole name."""
CardOf = Callable[[Slice], Card | None]


class Origin(NamedTuple):
    """Where a layer of the result takes its place in per-layer lists of the config from."""

    model: str
    layer: int


def sliced_parts(step: Step, headers: Headers, card_of: CardOf, findings: Findings) -> list[Part]:
    """Layers slice by slice; before and after them what lies outside. Bad ranges are told and left out."""
    stacks = {label: layers_of(tensors) for label, tensors in headers.items()}
    chosen = _by_stack(step, stacks, findings)
    if not chosen:
        return []
    inner: list[Part] = []
    for stack, slices in chosen.items():
        offset = 0
        for entry in slices:
            ranges = _checked_ranges(step, entry, stack, stacks, findings)
            if ranges:
                rows = _layer_rows(stack, offset, ranges, stacks)
                inner.append(_part(step, entry, tuple(r.model for r in ranges), rows, card_of))
                offset += ranges[0].stop - ranges[0].start
    before, after = _outer_parts(step, headers, stacks, chosen, card_of)
    return [*before, *inner, *after]


def layers_of(names: Mapping[str, object]) -> Layers:
    found: dict[str, dict[int, dict[str, str]]] = {}
    for name, layer in layers(names).items():
        found.setdefault(layer.stack, {}).setdefault(layer.number, {})[layer.rest] = name
    return found


def origins(step: Step, headers: Headers) -> Mapping[str, Sequence[Origin]]:
    """For each sliced stack, from which layer of which model each layer of the result comes (base, else first)."""
    stacks = {label: layers_of(tensors) for label, tensors in headers.items()}
    found: dict[str, list[Origin]] = {}
    for stack, slices in _by_stack(step, stacks, Findings()).items():
        for entry in slices:
            ranges = _checked_ranges(step, entry, stack, stacks, Findings())
            for lead in ranges[:1]:
                found.setdefault(stack, []).extend(Origin(lead.model, layer) for layer in range(lead.start, lead.stop))
    return found


def labels(step: Step) -> tuple[str, ...]:
    """The models of all slices, in order of their first appearance, and the bases."""
    found = [step.base or "", *step.models]
    for entry in step.slices:
        found += [entry.base or "", *(part.model for part in entry.models)]
    return tuple(dict.fromkeys(label for label in found if label))


def tuned(step: Step, entry: Slice) -> tuple[str, ...]:
    """The models of a slice without its base."""
    base = entry.base or step.base
    return tuple(part.model for part in entry.models if part.model != base)


def _by_stack(step: Step, stacks: Mapping[str, Layers], findings: Findings) -> Mapping[str, Sequence[Slice]]:
    known = tuple(dict.fromkeys(stack for found in stacks.values() for stack in found))
    chosen: dict[str, list[Slice]] = {}
    for entry in step.slices:
        fitting = [stack for stack in known if _fits(entry.stack, stack)]
        if len(fitting) == 1:
            chosen.setdefault(fitting[0], []).append(entry)
        elif not known:
            findings.add(RecipeError("slices of models that have no layers", where=str(entry.place)))
        elif not fitting:
            hint = nearest(entry.stack or "", known)
            findings.add(
                RecipeError(f"no stack of layers is called `{entry.stack}`", where=str(entry.place), hint=hint)
            )
        else:
            text = f"the models have several stacks of layers: {', '.join(fitting)}"
            hint = f"say which one is cut: `stack: {fitting[0]}`"
            findings.add(RecipeError(text, where=str(entry.place), hint=hint))
    return chosen


def _fits(wanted: str | None, stack: str) -> bool:
    return wanted is None or wanted == stack or wanted in stack.split(".")


def _checked_ranges(
    step: Step, entry: Slice, stack: str, stacks: Mapping[str, Layers], findings: Findings
) -> list[SliceModel]:
    """The ranges of a slice, base first; empty when one of them cannot be."""
    ranges = _with_base(step, entry, findings)
    fine = bool(ranges)
    for part in ranges:
        count = len(stacks[part.model].get(stack, {}))
        if not 0 <= part.start < part.stop <= count:
            text = f"layers [{part.start}, {part.stop}) of `{part.model}`: "
            text += "the first must lie before the end" if part.start >= part.stop else f"it has {count} in `{stack}`"
            hint = f"ranges lie between 0 and {count}; the end is not included"
            findings.add(RecipeError(text, where=str(part.place), hint=hint))
            fine = False
    lengths = {part.stop - part.start for part in ranges}
    if fine and len(lengths) > 1:
        spoken = ", ".join(f"`{part.model}` {part.stop - part.start}" for part in ranges)
        findings.add(
            RecipeError(f"the models of a slice give different numbers of layers: {spoken}", where=str(entry.place))
        )
        fine = False
    return ranges if fine else []


def _with_base(step: Step, entry: Slice, findings: Findings) -> list[SliceModel]:
    base = entry.base or step.base
    others = [part for part in entry.models if part.model != base]
    mine = [part for part in entry.models if part.model == base]
    if base is None or not others:
        return list(entry.models)
    if mine:
        return mine[:1] + others
    if len({(part.start, part.stop) for part in others}) > 1:
        text = f"which layers of the base `{base}` belong to this slice?"
        hint = "its models have different ranges: give the base a range too"
        findings.add(RecipeError(text, where=str(entry.place), hint=hint))
        return []
    return [replace(others[0], model=base), *others]


def _layer_rows(stack: str, offset: int, ranges: Sequence[SliceModel], stacks: Mapping[str, Layers]) -> list[Row]:
    rows: list[Row] = []
    count = ranges[0].stop - ranges[0].start
    for rank in range(count):
        held = [_layer(stacks[part.model][stack], part.start + rank, first=offset + rank == 0) for part in ranges]
        for rest in dict.fromkeys(rest for own in held for rest in own):
            inputs = tuple(own.get(rest) for own in held)
            rows.append(Row(f"{stack}.{offset + rank}.{rest}", inputs, position(rank, count)))
    return rows


def _layer(layers: Mapping[int, Mapping[str, str]], number: int, *, first: bool) -> Mapping[str, str]:
    """Tensors of a layer by the rest of their names; what a first layer holds for all belongs to the first place."""
    shared = shared_in_first(layers)
    own = {rest: name for rest, name in layers.get(number, {}).items() if rest not in shared}
    return {**shared, **own} if first else own


def _outer_parts(
    step: Step,
    headers: Headers,
    stacks: Mapping[str, Layers],
    chosen: Mapping[str, Sequence[Slice]],
    card_of: CardOf,
) -> tuple[list[Part], list[Part]]:
    """Tensors outside the sliced stacks, by the slice whose models they come from."""
    inside = set(_names(stacks.values(), chosen))
    layered = {name for found in stacks.values() for name in _names([found], found)}
    before: list[Part] = []
    after: list[Part] = []
    for stack, slices in chosen.items():
        for early, entry, parts in ((True, slices[0], before), (False, slices[-1], after)):
            held = tuple(dict.fromkeys(part.model for part in _with_base(step, entry, Findings())))
            if not held:
                continue  # the base's layers are unclear, which is told
            mine: Headers = {
                label: {
                    name: header
                    for name, header in headers[label].items()
                    if name not in inside
                    and _owner(name, chosen) == stack
                    and (name in layered or before_layers(name)) == early
                }
                for label in held
            }
            parts.append(_part(step, entry, held, same_name_rows(mine, held), card_of))
    return before, after


def _names(models: Iterable[Layers], stacks: Iterable[str]) -> Iterator[str]:
    """Every name in the given stacks."""
    for found, stack in product(models, tuple(stacks)):
        for rests in found.get(stack, {}).values():
            yield from rests.values()


def _owner(name: str, stacks: Iterable[str]) -> str:
    """The stack to which a tensor outside all of them belongs: `encoder.final_norm` to `encoder.block`."""
    known = tuple(stacks)
    return next((stack for stack in known if name.startswith(stack.rpartition(".")[0] + ".")), known[0])


def _part(step: Step, entry: Slice, held: Sequence[str], rows: Sequence[Row], card_of: CardOf) -> Part:
    base = entry.base or step.base
    settings = (*entry.settings, *step.settings)
    if base is None or held[0] != base or len(held) == 1:
        return Part(card_of(entry), None, tuple(held), settings, rows, entry.place)
    return Part(card_of(entry), base, tuple(held[1:]), settings, rows, entry.place)
