"""What the units of a model can undergo without changing what it computes, traced from the model's own graph.

`torch.export` writes down what a model does as operations on tensors; axes flow through them (flow.py), and what comes
out is, for each set of units that can only move together, every axis of every weight on which they lie, and what may
happen to them: any permutation where a function is applied to them one by one, rotations where only their norm counts,
any invertible map where nothing but matrices meet them (from values to what reads the heads).

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
>>> (group,) = symmetries(model, (torch.zeros(1, 3),)).groups
>>> [str(place) for place in group.places], group.kind
(['0.weight[0]', '0.bias[0]', '2.weight[1]'], 'permutation')
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ligate.align.maps import Group, Kind, Place, Role
from ligate.core.errors import InputError

from .atoms import Axis, numbers
from .flow import Flow
from .rotary import turned
from .values import Axes, Value


class Seen(NamedTuple):
    """A value of the graph on which the units of a group lie: on axis `dim`, seen as `sizes`, they are `factor`.

    `over` is that of a Place. For units that may turn, squares and what a norm's weight has just scaled are left out:
    they do not turn with them.
    """

    node: str
    dim: int
    sizes: tuple[int, ...]
    factor: int
    over: tuple[tuple[int, int], ...] = ()


class Symmetries(NamedTuple):
    """Args:
    fixed: why the axes of weights that cannot move cannot.
    unknown: operations that may hide symmetries.
    seen: group -> the values of the graph with its units, in the order in which they are computed.
    program: the graph, a torch.export.ExportedProgram.
    """

    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    unknown: tuple[str, ...]
    seen: Mapping[str, tuple[Seen, ...]]
    program: Any


def symmetries(model: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any] | None = None) -> Symmetries:
    """The groups of a model that is called with these inputs (their values do not matter, their shapes do).

    Raises:
        InputError: the model cannot be traced.
    """
    return _Reader(exported(model, inputs, options), model).symmetries()


def exported(model: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any] | None = None) -> Any:
    """What the model does as a list of operations, a torch.export.ExportedProgram for inputs of these shapes.

    Raises:
        InputError: the model cannot be traced.
    """
    try:
        with torch.no_grad():  # or else parts that a model computes without gradients are graphs of their own
            return torch.export.export(model, inputs, dict(options or {}), strict=False)
    except Exception as error:  # whatever a model's own code raises while it is traced
        raise InputError(
            f"cannot be traced: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            where=type(model).__name__,
            hint="torch.export must be able to run it without control flow that depends on values.",
        ) from error


class _Reader:
    """One exported program, read from the first operation to the last."""

    def __init__(self, program: Any, model: nn.Module) -> None:
        self._program = program
        self._doubles = _doubles(model)
        self._flow = Flow()
        self._values: dict[str, Any] = {}  # node -> its value, or a tuple of those
        self._weights: dict[str, Axes] = {}
        self._used: dict[str, bool] = {}
        self._turned, self._inside = turned(program.graph)

    def symmetries(self) -> Symmetries:
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._values[node.name] = self._given(node)
            elif node.op == "call_function" and node.name not in self._inside:
                self._values[node.name] = self._computed(node)
            elif node.op == "output":
                self._fix_all(node.args, "is the output")
        for name, used in self._used.items():
            if not used:
                self._fix_axes(self._weights[name], "is not used")
        self._limit_what_cannot_be_folded()
        groups = _Groups(self._flow, self._weights, dict(self._computed_values()))
        unknown = tuple(dict.fromkeys(self._flow.unknown))
        return Symmetries(tuple(groups.groups()), self._fixed(), unknown, groups.seen(), self._program)

    def _given(self, node: Any) -> Value | None:
        signature, value = self._program.graph_signature, node.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        shape = tuple(value.shape)
        name = signature.inputs_to_parameters.get(node.name) or self._kept_buffer(node.name)
        if name is None:
            return Value(self._flow.fixed(shape, "is an input"), shape)
        first = self._doubles.get(name, name)
        if first not in self._weights:
            self._weights[first] = [self._flow.atoms.new(size) for size in shape]
        self._weights[name] = self._weights[first]
        self._used[first] = self._used.get(first, False) or bool(node.users)
        return Value(self._weights[name], shape, first, tuple(range(len(shape))))

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
            several = self._values[node.args[0].name]
            return several[node.args[1]] if isinstance(several, tuple) else None
        if node.name in self._turned:
            return self._flow.turned(self._values[self._turned[node.name]], tuple(value.shape))
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
    ) -> tuple[Value, ...]:
        """An operation with several results: each by itself; the parts of a split are cut at places."""
        if name in ("split", "chunk", "split_with_sizes"):
            dim = args[2] if len(args) > 2 else options.get("dim", 0)
            sizes = [each.shape[dim] for each in values]
            starts = [sum(sizes[:number]) for number in range(len(sizes))]
            return tuple(
                self._flow.apply("slice", [args[0], dim, start], {}, tuple(each.shape))
                for start, each in zip(starts, values, strict=True)
            )
        if name == "unbind":
            dim = args[1] if len(args) > 1 else options.get("dim", 0)
            return tuple(self._flow.apply("select", [args[0], dim], {}, tuple(each.shape)) for each in values)
        shapes = [tuple(each.shape) if isinstance(each, Tensor) else None for each in values]
        return tuple(self._flow.apply(f"{name} (several results)", args, options, shape) for shape in shapes)

    def _known(self, arg: Any) -> Any:
        if isinstance(arg, torch.fx.Node):
            value = self._values.get(arg.name)
            return value if isinstance(value, Value) else None
        if isinstance(arg, (list, tuple)):
            return [self._known(each) for each in arg]
        return arg

    def _fix_all(self, args: Any, why: str) -> None:
        for arg in args if isinstance(args, (list, tuple)) else [args]:
            if isinstance(arg, torch.fx.Node):
                value = self._values.get(arg.name)
                self._fix_axes(value.axes if isinstance(value, Value) else [], why)
            elif isinstance(arg, (list, tuple)):
                self._fix_all(arg, why)

    def _limit_what_cannot_be_folded(self) -> None:
        """A scale goes into what reads the scaled units: nobody may read them or use these weights otherwise."""
        for name, scale in [*self._flow.shifts.items(), *((scale, scale) for scale in self._flow.scales)]:
            if any((name, dim) in self._flow.uses for dim in range(len(self._weights[name]))):
                self._flow.atoms.limit(self._flow.scales[scale], "alike")
        for (weight, dim), by in self._flow.uses.items():
            if len(by) > 1:
                for scale in filter(None, by):
                    self._flow.atoms.limit(self._flow.scales[scale], "alike")
                self._flow.atoms.limit(self._weights[weight][dim], "alike") if any(by) else None

    def _computed_values(self) -> Iterator[tuple[str, Value]]:
        for node, value in self._values.items():
            if isinstance(value, Value) and value.shape and not value.weight:
                yield node, value

    def _fixed(self) -> dict[str, str]:
        atoms = self._flow.atoms
        told: dict[str, str] = {}
        for name, axes in self._weights.items():
            reasons = [atoms.fixed(part) for axis in axes for part in atoms.resolved(axis)]
            if any(reasons):
                told[name] = "; ".join(dict.fromkeys(filter(None, reasons)))
        return told


class _Groups:
    """What is left over when all operations are read: atoms that are not fixed, where they lie, and with what."""

    def __init__(self, flow: Flow, weights: Mapping[str, Axes], values: Mapping[str, Value]) -> None:
        self._flow, self._atoms = flow, flow.atoms
        self._weights = {name: [flow.atoms.resolved(axis) for axis in axes] for name, axes in weights.items()}
        self._values = {
            node: ([flow.atoms.resolved(axis) for axis in one.axes], flow.atoms.resolved(one.rows))
            for node, one in values.items()
        }
        self._scaled = {node for node, one in values.items() if one.scale or one.square}
        self._names: dict[int, str] = {}
        self._copies: dict[int, set[int]] = {}
        inside = [[flow.atoms.resolved(axis) for axis in axes] for axes in flow.between]
        for axes in [*self._weights.values(), *inside]:
            self._meet(axes, ())
        for axes, rows in self._values.values():
            self._meet(axes, rows)

    def groups(self) -> list[Group]:
        found: dict[int, list[tuple[Place, int]]] = {}
        for name, axes in self._weights.items():
            for dim, axis in enumerate(axes):
                for factor, part in enumerate(axis):
                    if self._kind(part):
                        role, scale = self._role(name, dim)
                        place = Place(name, dim, self._sizes(axis), factor, role, self._over(axes, dim, part), scale)
                        found.setdefault(part >> 1, []).append((place, part & 1))
        return [self._group(atom, places) for atom, places in found.items()]

    def seen(self) -> dict[str, tuple[Seen, ...]]:
        """Call after groups."""
        found: dict[str, list[Seen]] = {name: [] for name in self._names.values()}
        for node, (axes, _) in self._values.items():
            for dim, axis in enumerate(axes):
                for factor, part in enumerate(axis):
                    if part >> 1 in self._names and not (node in self._scaled and self._kind(part) != "permutation"):
                        here = Seen(node, dim, self._sizes(axis), factor, self._over(axes, dim, part))
                        found[self._names[part >> 1]].append(here)
        return {name: tuple(each) for name, each in found.items()}

    def _group(self, atom: int, found: Sequence[tuple[Place, int]]) -> Group:
        """Which side `write` is meant for: that of the first axis that brings the units forth."""
        side = next((side for place, side in found if place.role == "writes"), found[0][1])
        places = tuple(place._replace(role=_sided(place.role, one == side)) for place, one in found)
        self._names[atom] = str(places[0])
        kind = self._kind(2 * atom) or "permutation"
        copies = [self._atoms.size((2 * other,)) for other in sorted(self._copies[atom])]
        return Group(str(places[0]), self._atoms.size((2 * atom,)), places, kind, torch.Size(copies).numel())

    def _kind(self, atom: int) -> Kind | None:
        limits = self._atoms.limits(atom)
        if self._atoms.fixed(atom):
            return None
        if "rotary" in limits:
            return None if limits - {"rotary"} else "rotary"
        if "alike" in limits or {"odd", "centre"} <= limits:
            return "permutation"
        if "odd" in limits:
            return "signed"
        if "centre" in limits:
            return "centred"
        return "orthogonal" if "norm" in limits else "invertible"

    def _role(self, name: str, dim: int) -> tuple[Any, str]:
        if name in self._flow.scales:
            return "scales", ""
        if name in self._flow.shifts:
            return "shifts", self._flow.shifts[name]
        scale = "".join(self._flow.uses.get((name, dim), ()))
        return ("reads" if (name, dim) in self._flow.reads else "writes"), scale

    def _meet(self, axes: Sequence[Axis], rows: Axis) -> None:
        """Heads are the copies of what lies inside of them if nothing has the one without the other."""
        together = {atom for axis in axes for atom in numbers(axis)} | set(numbers(rows))
        for axis in axes:
            for atom in numbers(axis):
                here = together - {atom}
                self._copies[atom] = self._copies[atom] & here if atom in self._copies else here

    def _over(self, axes: Sequence[Axis], dim: int, part: int) -> tuple[tuple[int, int], ...]:
        """Dim and factor of the atoms that count the copies, in the same order wherever the units lie."""
        where = {atom: (at, factor) for at, axis in enumerate(axes) for factor, atom in enumerate(numbers(axis))}
        return tuple(where[atom] for atom in sorted(self._copies[part >> 1]) if atom in where)

    def _sizes(self, axis: Axis) -> tuple[int, ...]:
        return tuple(self._atoms.size((part,)) for part in axis)


def _sided(role: Role, writes: bool) -> Role:
    """The role of an axis on the side of what writes, or on the other; one that is read on that side does both."""
    if role in ("scales", "shifts"):
        return role
    if role == "reads" and writes:
        return "both"
    return "writes" if writes else "reads"


def _doubles(model: nn.Module) -> dict[str, str]:
    """Name -> the first name of the same tensor, for weights that stand in several places."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: first.setdefault(id(value), name) for name, value in state.items()}


def _name(target: Any) -> str:
    """`linear` of `aten.linear.default`."""
    parts = str(target).split(".")
    return parts[1] if len(parts) == 3 else str(target)
