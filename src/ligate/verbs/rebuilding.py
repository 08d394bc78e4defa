"""A merge in memory, again and again with other parameters: models are read once, no file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ligate.core.tensors import Source, torch_dtype
from ligate.engine import digest
from ligate.engine.plan import Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.recipe.resolve import resolve
from ligate.recipe.schema import Recipe, Step
from ligate.recipe.searching import with_parameters

from .canonical import Lookup

if TYPE_CHECKING:
    from torch import Tensor

SCALE = "scale"
"""In every rule of ours that has it, a factor of what is added to the base."""


def rebuilt(
    recipe: Recipe, step: Step, sources: Mapping[str, Source], lookup: Lookup, *, threads: int | None = None
) -> dict[str, Tensor]:
    """One step of a recipe, with the planner and the engine that serve the disk. `sources` holds what it names."""
    return _run(resolve(recipe, step, sources, lookup), sources, lookup, threads)


def along(base: Tensor, one: Tensor, scale: float, dtype: Any) -> Tensor:
    """From the base so many times as far as `one` is, computed in float32, or in float64 where the base is."""
    start = base if base.element_size() > 4 else base.float()
    return (start + scale * (one.to(start.dtype) - start)).to(dtype)


class Rebuilder:
    """The models of a recipe's only step in memory, merged by other parameters as often as asked.

    `plan` is that of the recipe on the models as they lie on disk: it says in which type each tensor is stored.
    """

    def __init__(
        self, recipe: Recipe, plan: Plan, sources: Mapping[str, Source], lookup: Lookup, threads: int | None = None
    ) -> None:
        self._recipe, self._lookup, self._threads = recipe, lookup, threads
        self._states = {label: tensors_of(sources[label]) for label in plan.sources}
        self._sources = {**sources, **{label: MemorySource(label, state) for label, state in self._states.items()}}
        self._dtypes = {out.name: out.dtype for out in plan.outs}
        self._scales = _scales(recipe.steps[-1], lookup)
        self._last: tuple[Mapping[str, Any], Plan, dict[str, Tensor]] | None = None  # of scale 1

    def merged(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weights that the recipe gives with these parameters, in the types in which it would store them.

        What `scale` adds to the base is so many times what 1 adds, for every rule: where nothing else has changed since
        the last call, no rule is run.
        """
        if self._scales and isinstance(values.get(SCALE), (int, float)):
            return self._scaled({**values, SCALE: 1.0}, float(values[SCALE]))
        state = _run(self._plan(values), self._sources, self._lookup, self._threads)
        return {name: one.to(torch_dtype(self._dtypes[name])) for name, one in state.items()}

    def digests(self) -> dict[str, str]:
        """One of all tensors of each model as they go into the merge, whatever file they lie in."""
        return {label: _digest(state) for label, state in self._states.items()}

    def _scaled(self, values: Mapping[str, Any], scale: float) -> dict[str, Tensor]:
        if self._last is None or self._last[0] != values:
            self._last = None  # first let go of it
            plan = self._plan(values, "F64" if "F64" in self._dtypes.values() else "F32")
            self._last = values, plan, _run(plan, self._sources, self._lookup, self._threads)
        _, plan, state = self._last
        found: dict[str, Tensor] = {}
        for out in plan.outs:
            one, dtype = state[out.name], torch_dtype(self._dtypes[out.name])
            if out.method and out.base:
                base = self._states[plan.sources[out.base.source]][out.base.name]
                found[out.name] = along(base, one, scale, dtype)
            else:
                found[out.name] = one.to(dtype)
        return found

    def _plan(self, values: Mapping[str, Any], dtype: str | None = None) -> Plan:
        recipe = with_parameters(self._recipe, values)
        output = replace(recipe.output, dtype=dtype or recipe.output.dtype)
        return resolve(replace(recipe, output=output), recipe.steps[-1], self._sources, self._lookup)


def tensors_of(source: Source) -> dict[str, Tensor]:
    """Everything that a source holds, read into memory."""
    import torch

    state = {name: torch.empty(each.shape, dtype=torch_dtype(each.dtype)) for name, each in source.headers().items()}
    for name, one in state.items():
        source.read_into(name, 0, _bytes(one))
    return state


def _digest(state: Mapping[str, Tensor]) -> str:
    hasher = digest.hasher()
    for name in sorted(state):
        hasher.update(f"{name} {state[name].dtype} {list(state[name].shape)}\n".encode())
        hasher.update(_bytes(state[name]))
    return digest.of_segment(hasher).hex()


def _bytes(one: Tensor) -> memoryview:
    import torch

    return one.reshape(-1).view(torch.uint8).numpy().data


def _scales(step: Step, lookup: Lookup) -> bool:
    """Whether the step's `scale` is known to multiply what is added to the base, in every tensor."""
    return step.base is not None and not step.slices and not lookup(step.method).foreign


def _run(plan: Plan, sources: Mapping[str, Source], lookup: Lookup, threads: int | None) -> dict[str, Tensor]:
    sink = MemorySink({out.name: out.header for out in plan.outs})
    run(plan, [sources[label] for label in plan.sources], lookup, sink, threads=threads, hashing=False)
    return sink.state_dict()
