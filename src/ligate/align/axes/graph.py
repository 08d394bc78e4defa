"""Which units of a model can change places without changing what it computes, traced from the model's own graph.

`torch.export` writes down what a model does as operations on tensors; axes flow through them (flow.py), and what comes
out is, for each set of units that can only move together, every axis of every weight on which they lie.

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
>>> (group,) = symmetries(model, (torch.zeros(1, 3),)).groups
>>> [str(place) for place in group.places]
['0.weight[0]', '0.bias[0]', '2.weight[1]']
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ligate.align.maps import Group, Place
from ligate.core.errors import InputError

from .atoms import Axis
from .flow import Axes, Flow, Known


class Symmetries(NamedTuple):
    """`fixed` says, for weights with axes that cannot move, why. `unknown` operations may hide symmetries."""

    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    unknown: tuple[str, ...]


def symmetries(model: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any] | None = None) -> Symmetries:
    """The groups of a model that is called with these inputs (their values do not matter, their shapes do).

    Raises:
        InputError: the model cannot be traced.
    """
    try:
        program = torch.export.export(model, inputs, dict(options or {}), strict=False)
    except Exception as error:  # whatever a model's own code raises while it is traced
        raise InputError(
            f"cannot be traced: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            where=type(model).__name__,
            hint="torch.export must be able to run it without control flow that depends on values.",
        ) from error
    return _Reader(program, model).symmetries()


class _Reader:
    """One exported program, read from the first operation to the last."""

    def __init__(self, program: Any, model: nn.Module) -> None:
        self._program = program
        self._doubles = _doubles(model)
        self._flow = Flow()
        self._axes: dict[str, Any] = {}  # node -> axes of its value, or a tuple of those
        self._weights: dict[str, Axes] = {}
        self._used: dict[str, bool] = {}

    def symmetries(self) -> Symmetries:
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._axes[node.name] = self._given(node)
            elif node.op == "call_function":
                self._axes[node.name] = self._computed(node)
            elif node.op == "output":
                self._fix_all(node.args, "is the output")
        for name, used in self._used.items():
            if not used:
                self._fix_axes(self._weights[name], "is not used")
        return Symmetries(tuple(self._groups()), self._fixed(), tuple(dict.fromkeys(self._flow.unknown)))

    def _given(self, node: Any) -> Any:
        signature, value = self._program.graph_signature, node.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        name = signature.inputs_to_parameters.get(node.name) or self._kept_buffer(node.name)
        if name is None:
            return self._flow.fixed(value.shape, "is an input")
        first = self._doubles.get(name, name)
        if first not in self._weights:
            self._weights[first] = [self._flow.atoms.new(size) for size in value.shape]
        self._weights[name] = self._weights[first]
        self._used[first] = self._used.get(first, False) or bool(node.users)
        return self._weights[name]

    def _fix_axes(self, axes: Axes, why: str) -> None:
        for axis in axes:
            self._flow.atoms.fix(axis, why)

    def _kept_buffer(self, node: str) -> str | None:
        """The name of a buffer that is part of the state dict."""
        name = self._program.graph_signature.inputs_to_buffers.get(node)
        return name if name in self._program.state_dict else None

    def _computed(self, node: Any) -> Any:
        value = node.meta.get("val")
        if node.target is operator.getitem:
            several = self._axes[node.args[0].name]
            return several[node.args[1]] if isinstance(several, tuple) else None
        name = _name(node.target)
        args = [self._known(arg) for arg in node.args]
        options = {key: self._known(arg) for key, arg in node.kwargs.items()}
        if isinstance(value, Tensor):
            return self._flow.apply(name, args, options, tuple(value.shape))
        if isinstance(value, (tuple, list)):
            return self._several(name, args, options, value)
        return None

    def _several(
        self, name: str, args: Sequence[Any], options: dict[str, Any], values: Sequence[Any]
    ) -> tuple[Any, ...]:
        """An operation with several results: each by itself; the parts of a split are cut at places."""
        if name in ("split", "chunk", "split_with_sizes"):
            dim = args[2] if len(args) > 2 else options.get("dim", 0)
            sizes = [each.shape[dim] for each in values]
            starts = [sum(sizes[:number]) for number in range(len(sizes))]
            return tuple(
                self._flow.apply("slice", [args[0], dim, start], {}, tuple(each.shape))
                for start, each in zip(starts, values, strict=True)
            )
        shapes = [tuple(each.shape) if isinstance(each, Tensor) else None for each in values]
        return tuple(self._flow.apply(f"{name} (several results)", args, options, shape) for shape in shapes)

    def _known(self, arg: Any) -> Any:
        if isinstance(arg, torch.fx.Node):
            axes, value = self._axes.get(arg.name), arg.meta.get("val")
            return Known(axes, tuple(value.shape)) if isinstance(axes, list) and isinstance(value, Tensor) else None
        if isinstance(arg, (list, tuple)):
            return [self._known(each) for each in arg]
        return arg

    def _fix_all(self, args: Any, why: str) -> None:
        for arg in args if isinstance(args, (list, tuple)) else [args]:
            if isinstance(arg, torch.fx.Node):
                self._fix_axes(self._axes.get(arg.name) or [], why)
            elif isinstance(arg, (list, tuple)):
                self._fix_all(arg, why)

    def _groups(self) -> list[Group]:
        atoms = self._flow.atoms
        found: dict[int, list[Place]] = {}
        for name, axes in self._weights.items():
            for dim, axis in enumerate(axes):
                parts: Axis = atoms.resolved(axis)
                sizes = tuple(atoms.size((part,)) for part in parts)
                for factor, part in enumerate(parts):
                    if not atoms.fixed(part):
                        found.setdefault(part, []).append(Place(name, dim, sizes, factor))
        return [Group(str(places[0]), atoms.size((part,)), tuple(places)) for part, places in found.items()]

    def _fixed(self) -> dict[str, str]:
        atoms = self._flow.atoms
        told: dict[str, str] = {}
        for name, axes in self._weights.items():
            reasons = [atoms.fixed(part) for axis in axes for part in atoms.resolved(axis)]
            if any(reasons):
                told[name] = "; ".join(dict.fromkeys(filter(None, reasons)))
        return told


def _doubles(model: nn.Module) -> dict[str, str]:
    """Name -> the first name of the same tensor, for weights that stand in several places."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: first.setdefault(id(value), name) for name, value in state.items()}


def _name(target: Any) -> str:
    """`linear` of `aten.linear.default`."""
    return str(target).split(".")[1] if str(target).startswith("aten.") else str(target)
