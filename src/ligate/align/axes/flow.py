"""How axes flow through the operations of an exported graph: which are the same, which are split, which count places.

Every tensor is known by its axes (see atoms.py). An operation that treats the units of an axis alike passes it on; one
that looks at positions fixes it; one that is not linear limits what may happen to the units. An operation that is not
known here fixes all it touches, so that a symmetry is never claimed that does not hold; the graph then says which
operation it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .atoms import Atoms, Axis, Limit, dual
from .rules import RULES, pointwise, rearranged, squares
from .values import CASTS, CONTRACTIONS, GROUPED, KEEP_SCALES, POINTWISE, Axes, Value, tensors_in


@dataclass
class Flow:
    """The axes of what has been computed so far. `unknown` are operations that fixed all they touched.

    Args:
        scales: weight that multiplies units, number by number -> its axis.
        shifts: weight that is added to units just after that -> the weight that multiplied them.
        uses: weight and axis -> what scaled the units that it read; empty for any other use.
        reads: weight and axis that was summed over with what was computed before.
        between: axes of values that an operation computes inside of it.
        experts: which rows belong to which expert, by the value that says so -> the axis of experts.
    """

    atoms: Atoms = field(default_factory=Atoms)
    unknown: list[str] = field(default_factory=list)
    scales: dict[str, Axis] = field(default_factory=dict)
    shifts: dict[str, str] = field(default_factory=dict)
    uses: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    reads: set[tuple[str, int]] = field(default_factory=set)
    between: list[Axes] = field(default_factory=list)
    experts: dict[int, Axis] = field(default_factory=dict)

    def fixed(self, shape: Sequence[int], why: str) -> Axes:
        """Axes whose units have places of their own: positions, classes, words."""
        axes = [self.atoms.new(int(size)) for size in shape]
        for axis in axes:
            self.atoms.fix(axis, why)
        return axes

    def limit(self, axes: Axes, to: Limit) -> None:
        for axis in axes:
            self.atoms.limit(axis, to)

    def apply(self, name: str, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...] | None) -> Value:
        """The result of one operation; a shape of None is none at all."""
        name = name.strip("_") if name.startswith("__") else name
        if shape is None:
            return Value([], ())
        given = tensors_in([*args, *options.values()])
        if name in CASTS:
            return replace(given[0], shape=shape) if given else Value(self.fixed(shape, f"made by {name}"), shape)
        if name in ("transpose", "t", "numpy_T", "permute"):
            return rearranged(args, name)
        self._note(name, given)
        found = Value(self._axes(name, args, options, given, shape), shape, square=squares(name, args))
        scale = self._scale(name, given)
        return replace(found, scale=scale, rows=self._rows(name, args, given))

    def turned(self, x: Value, shape: tuple[int, ...]) -> Value:
        """Rotary position embedding of the last axis: units j and j + size/2 turn by an angle of position and j."""
        last = self.atoms.resolved(x.axes[-1])
        if len(last) != 1:
            self.atoms.fix(last, "is turned in pairs that are not halves of one axis")
        self.atoms.limit(last, "rotary")
        if x.scale:
            self.atoms.limit(self.scales[x.scale], "alike")
        return Value(x.axes, shape)

    def _axes(
        self, name: str, args: Sequence[Any], options: dict[str, Any], given: list[Value], shape: tuple[int, ...]
    ) -> Axes:
        if name in POINTWISE:
            return pointwise(self, name, args, given, shape)
        rule = RULES.get(name)
        if rule is not None:
            found = rule(self, args, options, shape)
            if found is not None:
                return found
        elif not given:
            return self.fixed(shape, f"made by {name}")
        return self._give_up(name, given, shape)

    def _give_up(self, name: str, given: Sequence[Value], shape: tuple[int, ...]) -> Axes:
        touched = [atom for one in given for axis in one.axes for atom in self.atoms.resolved(axis)]
        if not all(map(self.atoms.fixed, touched)):
            self.unknown.append(name)
        self.atoms.fix(tuple(touched), f"goes into {name}")
        return self.fixed(shape, f"comes out of {name}")

    def aligned(self, values: Sequence[Value], shape: tuple[int, ...], name: str) -> Axes:
        """Aligned from the right, as broadcasting does."""
        found: Axes = [() for _ in shape]
        for one in values:
            for back in range(1, len(one.axes) + 1):
                axis = one.axes[-back]
                if self.atoms.size(axis) > 1:
                    before = found[-back]
                    found[-back] = axis if not before else self.atoms.unify(before, axis, f"meets in {name}")
        return [axis or self._new(size, name) for axis, size in zip(found, shape, strict=True)]

    def contract(self, x: Value, dim: int, y: Value, other: int, name: str) -> None:
        """The sum over an axis of both: what one undergoes, the other has to undo."""
        self.atoms.unify(x.axes[dim], dual(y.axes[other]), f"goes into {name}")
        for here, at, there in ((x, dim, y), (y, other, x)):
            if here.weight:
                self.reads.add((here.weight, here.dims[at]))
                self.uses.setdefault((here.weight, here.dims[at]), set()).add(there.scale)
            if here.scale and not (there.weight and self._scales_this(here.scale, here.axes[at])):
                self.atoms.limit(self.scales[here.scale], "alike")

    def _scales_this(self, scale: str, axis: Axis) -> bool:
        return self.atoms.resolved(self.scales[scale]) == self.atoms.resolved(axis)

    def _note(self, name: str, given: Sequence[Value]) -> None:
        """What an operation means for squares, scaled units and weights that are not there to be multiplied with."""
        for one in given:
            if one.square and name not in ("mean", "sum"):
                self.limit(one.axes, "alike")
            if one.scale and name not in CONTRACTIONS | KEEP_SCALES:
                self.atoms.limit(self.scales[one.scale], "alike")
            if one.weight and name not in CONTRACTIONS and not _scales_units(name, one, given):
                for dim in one.dims:
                    self.uses.setdefault((one.weight, dim), set()).add("")

    def _rows(self, name: str, args: Sequence[Any], given: Sequence[Value]) -> Axis:
        if name in GROUPED and len(args) > 2:
            return self.experts.get(id(args[2]), ())
        return given[0].rows if given and (name in POINTWISE or name == "slice") else ()

    def _scale(self, name: str, given: Sequence[Value]) -> str:
        """The weight of one axis that the result has just been multiplied by."""
        if name in KEEP_SCALES:
            return given[0].scale if given else ""
        if name == "layer_norm":
            return given[1].weight if len(given) > 1 and given[1].weight in self.scales else ""
        weight = next((one for one in given if _scales_units(name, one, given)), None)
        return "" if weight is None else self._scaled_by(weight)

    def shift(self, args: Sequence[Any], options: dict[str, Any]) -> bool:
        """Note the weight and the bias of a layer norm; False where nothing can be made of them."""
        weight = args[2] if len(args) > 2 else options.get("weight")
        bias = args[3] if len(args) > 3 else options.get("bias")
        if not isinstance(weight, Value):
            return not isinstance(bias, Value)
        if not self._scaled_by(weight):
            return False
        if not isinstance(bias, Value):
            return True
        return bool(bias.weight) and self.shifts.setdefault(bias.weight, weight.weight) == weight.weight

    def _scaled_by(self, weight: Value) -> str:
        axes = [axis for axis in weight.axes if self.atoms.size(axis) > 1]
        if len(axes) != 1 or not weight.weight:
            self.limit(axes, "alike")
            return ""
        self.scales[weight.weight] = axes[0]
        return weight.weight

    def _new(self, size: int, name: str) -> Axis:
        axis = self.atoms.new(size)
        self.atoms.fix(axis, f"made by {name}")
        return axis


def _scales_units(name: str, one: Value, given: Sequence[Value]) -> bool:
    """Whether a weight is there to multiply units one by one, or to shift them in a layer norm."""
    if name in ("rms_norm", "layer_norm"):
        return one is not given[0]
    return name in ("mul", "mul_") and len(given) == 2 and [bool(each.weight) for each in given].count(True) == 1
