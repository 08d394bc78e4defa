"""How axes flow through the operations of an exported graph: which are the same, which are split, which count places.

Every tensor is known by its axes (see atoms.py). An operation that treats the units of an axis alike passes it on; one
that looks at positions fixes it. An operation that is not known here fixes all it touches, so that a symmetry is never
claimed that does not hold; the graph then says which operation it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .atoms import Atoms, Axis

Axes = list[Axis]

_POINTWISE = frozenset(
    [
        "abs",
        "add",
        "alias",
        "and",
        "bitwise_and",
        "bitwise_not",
        "bitwise_or",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clone",
        "contiguous",
        "cos",
        "detach",
        "div",
        "dropout",
        "elu",
        "eq",
        "erf",
        "exp",
        "expm1",
        "fill",
        "ge",
        "gelu",
        "gt",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "le",
        "leaky_relu",
        "lift_fresh_copy",
        "log",
        "log1p",
        "log_sigmoid",
        "logical_and",
        "logical_not",
        "logical_or",
        "lt",
        "masked_fill",
        "maximum",
        "minimum",
        "mish",
        "mul",
        "ne",
        "neg",
        "pow",
        "reciprocal",
        "relu",
        "relu6",
        "rsqrt",
        "rsub",
        "selu",
        "sigmoid",
        "sigmoid_",
        "silu",
        "silu_",
        "sin",
        "softplus",
        "sqrt",
        "square",
        "sub",
        "tanh",
        "tanh_",
        "to",
        "type_as",
        "where",
        "zeros_like",
        "ones_like",
        "full_like",
        "add_",
        "mul_",
        "relu_",
        "sub_",
        "div_",
        "float",
        "softsign",
        "_to_copy",
    ]
)


@dataclass
class Flow:
    """The axes of what has been computed so far. `unknown` are operations that fixed all they touched."""

    atoms: Atoms = field(default_factory=Atoms)
    unknown: list[str] = field(default_factory=list)

    def fixed(self, shape: Sequence[int], why: str) -> Axes:
        """Axes whose units have places of their own: positions, classes, words."""
        axes = [self.atoms.new(int(size)) for size in shape]
        for axis in axes:
            self.atoms.fix(axis, why)
        return axes

    def apply(self, name: str, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...] | None) -> Axes:
        """Axes of the result of one operation. Tensors among the arguments are given by their axes (`Known`)."""
        name = name.strip("_") if name.startswith("__") else name
        if shape is None:
            return []
        if name in _POINTWISE:
            return self.pointwise(args, shape, name)
        rule = _RULES.get(name)
        known = _tensors([*args, *options.values()])
        if rule is not None:
            found = rule(self, args, options, shape)
            if found is not None:
                return found
        elif not known:
            return self.fixed(shape, f"made by {name}")
        return self._give_up(name, known, shape)

    def _give_up(self, name: str, known: Sequence[Known], shape: tuple[int, ...]) -> Axes:
        self.unknown.append(name)
        for one in known:
            for axis in one.axes:
                self.atoms.fix(axis, f"goes into {name}")
        return self.fixed(shape, f"comes out of {name}")

    def pointwise(self, args: Sequence[Any], shape: tuple[int, ...], name: str) -> Axes:
        """Aligned from the right, as broadcasting does."""
        found: Axes = [() for _ in shape]
        for one in _tensors(args):
            for back in range(1, len(one.axes) + 1):
                axis = one.axes[-back]
                if self.atoms.size(axis) > 1:
                    before = found[-back]
                    found[-back] = axis if not before else self.atoms.unify(before, axis, f"meets in {name}")
        return [axis or self._new(size, name) for axis, size in zip(found, shape, strict=True)]

    def _new(self, size: int, name: str) -> Axis:
        axis = self.atoms.new(size)
        self.atoms.fix(axis, f"made by {name}")
        return axis


@dataclass(frozen=True)
class Known:
    """A tensor among the arguments of an operation."""

    axes: Axes
    shape: tuple[int, ...]


Rule = Callable[[Flow, Sequence[Any], dict[str, Any], tuple[int, ...]], "Axes | None"]


def _tensors(values: Sequence[Any]) -> list[Known]:
    found: list[Known] = []
    for value in values:
        if isinstance(value, Known):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _linear(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x, weight = args[0], args[1]
    flow.atoms.unify(x.axes[-1], weight.axes[1], "goes into linear")
    bias = args[2] if len(args) > 2 else options.get("bias")
    if isinstance(bias, Known):
        flow.atoms.unify(weight.axes[0], bias.axes[0], "goes into linear")
    return [*x.axes[:-1], weight.axes[0]]


def _addmm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    bias, x, weight = args[:3]
    flow.atoms.unify(x.axes[-1], weight.axes[0], "goes into addmm")
    flow.atoms.unify(weight.axes[1], bias.axes[-1], "goes into addmm")
    return [x.axes[0], weight.axes[1]]


def _matmul(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    x, y = args[:2]
    if len(x.axes) < 2 or len(y.axes) < 2:
        return None
    flow.atoms.unify(x.axes[-1], y.axes[-2], "meets in matmul")
    batch = flow.pointwise([Known(x.axes[:-2], ()), Known(y.axes[:-2], ())], shape[:-2], "matmul")
    return [*batch, x.axes[-2], y.axes[-1]]


def _attention(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    query, key, value = args[:3]
    if options.get("enable_gqa"):
        return None
    flow.atoms.unify(query.axes[-1], key.axes[-1], "meets in attention")
    flow.atoms.unify(key.axes[-2], value.axes[-2], "meets in attention")
    parts = [Known(one.axes[:-2], ()) for one in (query, key, value)]
    batch = flow.pointwise(parts, shape[:-2], "attention")
    mask = args[3] if len(args) > 3 else options.get("attn_mask")
    scores = [*batch, query.axes[-2], key.axes[-2]]
    if isinstance(mask, Known):
        flow.pointwise([Known(scores, ()), mask], tuple(map(flow.atoms.size, scores)), "attention")
    if (len(args) > 5 and args[5]) or options.get("is_causal"):
        for axis in (query.axes[-2], key.axes[-2]):
            flow.atoms.fix(axis, "positions in causal attention")
    return [*batch, query.axes[-2], value.axes[-1]]


def _embedding(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    weight, ids = args[:2]
    flow.atoms.fix(weight.axes[0], "rows are looked up")
    return [*ids.axes, weight.axes[1]]


def _layer_norm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x, normalized = args[0], args[1]
    scales = [one for one in (*args[2:4], options.get("weight"), options.get("bias")) if isinstance(one, Known)]
    for one in scales:
        for mine, its in zip(x.axes[-len(normalized) :], one.axes, strict=True):
            flow.atoms.unify(mine, its, "goes into layer_norm")
    return x.axes


def _batch_norm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x = args[0]
    for one in _tensors(args[1:5]):
        flow.atoms.unify(x.axes[1], one.axes[0], "goes into batch_norm")
    return x.axes


def _convolution(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    x, weight = args[:2]
    groups = args[6] if len(args) > 6 else options.get("groups", 1)
    channels = x.shape[1]
    if groups == 1:
        flow.atoms.unify(x.axes[1], weight.axes[1], "goes into a convolution")
        out = weight.axes[0]
    elif groups == channels == weight.shape[0]:
        out = flow.atoms.unify(x.axes[1], weight.axes[0], "goes into a convolution")
    else:
        return None
    bias = args[2] if len(args) > 2 else options.get("bias")
    if isinstance(bias, Known):
        flow.atoms.unify(out, bias.axes[0], "goes into a convolution")
    for axis in (*x.axes[2:], *weight.axes[2:]):
        flow.atoms.fix(axis, "places of a picture")
    return [x.axes[0], out, *flow.fixed(shape[2:], "places of a picture")]


def _pooled(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x = args[0]
    for axis in x.axes[2:]:
        flow.atoms.fix(axis, "places of a picture")
    return [*x.axes[:2], *flow.fixed(shape[2:], "places of a picture")]


def _same(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    return args[0].axes


def _reduced(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x = args[0]
    given = args[1] if len(args) > 1 else options.get("dim")
    dims = [given] if isinstance(given, int) else list(given or range(len(x.axes)))
    gone = {dim % len(x.axes) for dim in dims}
    keep = len(shape) == len(x.axes)
    return [() if i in gone else axis for i, axis in enumerate(x.axes) if keep or i not in gone]


def _viewed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    """All axes in a row are one product, which the new shape cuts anew."""
    whole: Axis = tuple(atom for axis in args[0].axes for atom in axis)
    return flow.atoms.split(whole, shape)


def _permuted(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    return [args[0].axes[dim] for dim in args[1]]


def _transposed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    axes = list(args[0].axes)
    one, other = (args[1], args[2]) if len(args) > 2 else (0, len(axes) - 1)
    axes[one], axes[other] = axes[other], axes[one]
    return axes


def _unsqueezed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    axes = list(args[0].axes)
    axes.insert(args[1] % (len(axes) + 1), ())
    return axes


def _squeezed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    kept = [axis for axis, size in zip(args[0].axes, args[0].shape, strict=True) if size > 1]
    return kept if len(kept) == len(shape) else None


def _expanded(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    """A new axis holds copies, whose order is nothing; batch and positions are fixed by what they meet."""
    axes: Axes = [()] * (len(shape) - len(args[0].axes)) + list(args[0].axes)
    return [
        axis if flow.atoms.size(axis) == size else flow.atoms.new(size) for axis, size in zip(axes, shape, strict=True)
    ]


def _sliced(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    """A part out of several equal ones: their order is fixed, their inner order is the same for all of them."""
    x = args[0]
    dim = (args[1] if len(args) > 1 else 0) % len(x.axes)
    start = args[2] if len(args) > 2 and args[2] is not None else 0
    axes, size, whole = list(x.axes), shape[dim], x.shape[dim]
    if size == whole:
        return axes
    even = size and whole % size == 0 and start % size == 0
    parts = flow.atoms.split(axes[dim], (whole // size, size)) if even else None
    flow.atoms.fix(axes[dim] if parts is None else parts[0], "is cut at a place")
    axes[dim] = flow.fixed((size,), "is cut at a place")[0] if parts is None else parts[1]
    return axes


def _selected(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    axes = list(args[0].axes)
    flow.atoms.fix(axes.pop(args[1]), "one place is taken")
    return axes


def _joined(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    """Equal parts keep one inner order, others lose theirs."""
    parts, why = _tensors([args[0]]), "is put behind another"
    dim = (args[1] if len(args) > 1 else 0) % len(shape)
    axes = list(parts[0].axes)
    even = len({part.shape[dim] for part in parts}) == 1
    for part in parts:
        for i, axis in enumerate(part.axes):
            if i != dim or even:
                axes[i] = flow.atoms.unify(axes[i], axis, why) if axes[i] else axis
            else:
                flow.atoms.fix(axis, why)
    axes[dim] = (*flow.fixed((len(parts),), why)[0], *axes[dim]) if even else flow.fixed((shape[dim],), why)[0]
    return axes


_RULES: dict[str, Rule] = {
    "linear": _linear,
    "addmm": _addmm,
    "matmul": _matmul,
    "bmm": _matmul,
    "mm": _matmul,
    "scaled_dot_product_attention": _attention,
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _pooled),
    **dict.fromkeys(("softmax", "log_softmax", "normalize"), _same),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm"), _reduced),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "_unsafe_view"), _viewed),
    "permute": _permuted,
    **dict.fromkeys(("transpose", "t", "numpy_T"), _transposed),
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "expand": _expanded,
    "expand_as": _expanded,
    "slice": _sliced,
    "select": _selected,
    "cat": _joined,
}
