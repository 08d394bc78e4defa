"""What each operation means for the axes of its tensors: one small rule for each kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .atoms import Axis
from .values import GROUPED, ODD, PRODUCTS, SUMS, Axes, Value, tensors_in

if TYPE_CHECKING:
    from .flow import Flow

Rule = Callable[["Flow", Sequence[Any], dict[str, Any], tuple[int, ...]], "Axes | None"]


def squares(name: str, args: Sequence[Any]) -> bool:
    two = len(args) > 1
    return (
        name == "square" or (name == "pow" and two and args[1] == 2) or (name == "mul" and two and args[0] is args[1])
    )


def rearranged(args: Sequence[Any], name: str) -> Value:
    x: Value = args[0]
    order = list(range(len(x.axes)))
    if name == "permute":
        order = [dim % len(order) for dim in args[1]]
    else:
        one, other = (args[1], args[2]) if len(args) > 2 else (0, len(order) - 1)
        order[one], order[other] = order[other], order[one]
    axes, shape = [x.axes[dim] for dim in order], tuple(x.shape[dim] for dim in order)
    return replace(x, axes=axes, shape=shape, dims=tuple(x.dims[dim] for dim in order) if x.weight else ())


def pointwise(flow: Flow, name: str, args: Sequence[Any], given: list[Value], shape: tuple[int, ...]) -> Axes:
    axes = flow.aligned(given, shape, name)
    if name in ODD:
        flow.limit(axes, "odd")
    elif name in SUMS:
        number = any(isinstance(arg, (int, float)) and arg != 0 for arg in args[:2])
        flow.limit([axis for back, axis in _from_the_right(axes) if number or _missing(flow, given, back)], "alike")
    elif name in PRODUCTS:
        over = name.startswith("div")
        flow.limit([axis for back, axis in _from_the_right(axes) if _curved(flow, given, args, back, over)], "alike")
    elif not squares(name, args):
        flow.limit(axes, "alike")
    return axes


def _from_the_right(axes: Axes) -> list[tuple[int, Axis]]:
    return list(enumerate(reversed(axes), 1))


def _has(flow: Flow, one: Value, back: int) -> bool:
    return back <= len(one.axes) and flow.atoms.size(one.axes[-back]) > 1


def _missing(flow: Flow, given: Sequence[Value], back: int) -> bool:
    """A summand is the same number for all units of the axis: a constant vector, which a rotation would turn."""
    return not all(_has(flow, one, back) for one in given)


def _curved(flow: Flow, given: Sequence[Value], args: Sequence[Any], back: int, over: bool) -> bool:
    """Units multiply units of the same axis, or divide something. Weights that scale are another matter."""
    having = [one for one in given if _has(flow, one, back)]
    if over:
        return len(having) > 1 or any(one is not args[0] for one in having)
    return len(having) > 1 and args[0] is not args[1] and sum(bool(one.weight) for one in given) != 1


def _linear(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x, weight = args[0], args[1]
    flow.contract(x, len(x.axes) - 1, weight, 1, "linear")
    bias = args[2] if len(args) > 2 else options.get("bias")
    if isinstance(bias, Value):
        flow.atoms.unify(weight.axes[0], bias.axes[0], "goes into linear")
    return [*x.axes[:-1], weight.axes[0]]


def _addmm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    bias, x, weight = args[:3]
    flow.contract(x, len(x.axes) - 1, weight, 0, "addmm")
    flow.atoms.unify(weight.axes[1], bias.axes[-1], "goes into addmm")
    return [x.axes[0], weight.axes[1]]


def _matmul(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    x, y = args[:2]
    if len(x.axes) < 2 or len(y.axes) < 2:
        return None
    flow.contract(x, len(x.axes) - 1, y, len(y.axes) - 2, "matmul")
    batch = _shared(flow, [x.axes[:-2], y.axes[:-2]], shape[:-2], "matmul")
    return [*batch, x.axes[-2], y.axes[-1]]


def _shared(flow: Flow, each: Sequence[Axes], shape: tuple[int, ...], name: str) -> Axes:
    """Axes that both factors are multiplied along, unit by unit."""
    parts = [Value(axes, ()) for axes in each]
    axes = flow.aligned(parts, shape, name)
    both = [axis for back, axis in _from_the_right(axes) if sum(_has(flow, one, back) for one in parts) > 1]
    flow.limit(both, "alike")
    return axes


def _grouped(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    """Rows of x, each times the matrix of its expert."""
    x, weight = args[:2]
    which = args[2] if len(args) > 2 else options.get("offs")
    if len(x.axes) != 2 or len(weight.axes) != 3 or not isinstance(which, Value):
        return None
    flow.contract(x, 1, weight, 1, "grouped_mm")
    expert = flow.experts.setdefault(id(which), weight.axes[0])
    flow.atoms.fix(flow.atoms.unify(expert, weight.axes[0], "are experts"), "experts are told apart by their number")
    return [x.axes[0], weight.axes[2]]


def _attention(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    query, key, value = args[:3]
    if options.get("enable_gqa"):
        return None
    flow.contract(query, len(query.axes) - 1, key, len(key.axes) - 1, "attention")
    flow.atoms.unify(key.axes[-2], value.axes[-2], "meets in attention")
    batch = _shared(flow, [one.axes[:-2] for one in (query, key, value)], shape[:-2], "attention")
    flow.limit([query.axes[-2], key.axes[-2]], "alike")
    mask = args[3] if len(args) > 3 else options.get("attn_mask")
    scores = [*batch, query.axes[-2], key.axes[-2]]
    flow.between.append(scores)
    if isinstance(mask, Value):
        flow.aligned([Value(scores, ()), mask], tuple(map(flow.atoms.size, scores)), "attention")
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
    for one in tensors_in([*args[2:4], options.get("weight"), options.get("bias")]):
        for mine, its in zip(x.axes[-len(normalized) :], one.axes, strict=True):
            flow.atoms.unify(mine, its, "goes into layer_norm")
    if len(normalized) > 1 or not flow.shift(args, options):
        flow.limit(x.axes, "alike")
        return x.axes
    flow.limit(x.axes[-1:], "norm")
    flow.limit(x.axes[-1:], "centre")
    flow.limit(x.axes[:-1], "alike")
    return x.axes


def _rms_norm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x, count = args[0], len(args[1])
    for one in tensors_in([*args[2:3], options.get("weight")]):
        for mine, its in zip(x.axes[-count:], one.axes, strict=True):
            flow.atoms.unify(mine, its, "goes into rms_norm")
    flow.limit(x.axes[-count:], "norm")
    flow.limit(x.axes[:-count], "alike")
    return x.axes


def _batch_norm(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x = args[0]
    for one in tensors_in(args[1:5]):
        flow.atoms.unify(x.axes[1], one.axes[0], "goes into batch_norm")
    flow.limit(x.axes, "alike")
    return x.axes


def _convolution(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    x, weight = args[:2]
    groups = args[6] if len(args) > 6 else options.get("groups", 1)
    channels = x.shape[1]
    if groups == 1:
        flow.contract(x, 1, weight, 1, "a convolution")
        out = weight.axes[0]
    elif groups == channels == weight.shape[0]:
        out = flow.atoms.unify(x.axes[1], weight.axes[0], "goes into a convolution")
        flow.atoms.limit(out, "alike")
    else:
        return None
    bias = args[2] if len(args) > 2 else options.get("bias")
    if isinstance(bias, Value):
        flow.atoms.unify(out, bias.axes[0], "goes into a convolution")
    for axis in (*x.axes[2:], *weight.axes[2:]):
        flow.atoms.fix(axis, "places of a picture")
    return [x.axes[0], out, *flow.fixed(shape[2:], "places of a picture")]


def _pooled(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    x = args[0]
    for axis in x.axes[2:]:
        flow.atoms.fix(axis, "places of a picture")
    flow.limit(x.axes[:2], "alike")
    return [*x.axes[:2], *flow.fixed(shape[2:], "places of a picture")]


def _same(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    flow.limit(args[0].axes, "alike")
    return args[0].axes


def _averaged(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    """A sum over units turns with them only if it is one of squares."""
    x = args[0]
    gone, kept = _reduced(args, options, shape)
    flow.limit([x.axes[dim] for dim in gone], "norm" if x.square else "alike")
    if x.square:
        flow.limit([axis for dim, axis in enumerate(x.axes) if dim not in gone], "alike")
    return kept


def _condensed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes:
    flow.limit(args[0].axes, "alike")
    return _reduced(args, options, shape)[1]


def _reduced(args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> tuple[set[int], Axes]:
    """The dims that go, and the axes that stay."""
    x = args[0]
    given = args[1] if len(args) > 1 else options.get("dim")
    dims = [given] if isinstance(given, int) else list(given or range(len(x.axes)))
    gone = {dim % len(x.axes) for dim in dims}
    keep = len(shape) == len(x.axes)
    return gone, [() if i in gone else axis for i, axis in enumerate(x.axes) if keep or i not in gone]


def _picked(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    """Units of some axes by their numbers; the other axes stay what they are."""
    x, chosen = args[0], list(args[1])
    dims = [dim for dim, one in enumerate(chosen) if one is not None]
    if not dims or dims != list(range(dims[0], dims[-1] + 1)):
        return None
    for one in tensors_in(chosen):
        for axis in one.axes:
            flow.atoms.fix(axis, "says which are picked")
    for dim in dims:
        flow.atoms.fix(x.axes[dim], "units are picked by their numbers")
    after = len(x.axes) - len(chosen)
    rest = x.axes[dims[-1] + 1 :]
    between = flow.fixed(shape[dims[0] : len(shape) - len(rest)], "picked by their numbers")
    return [*x.axes[: dims[0]], *between, *rest] if after >= 0 else None


def _viewed(flow: Flow, args: Sequence[Any], options: dict[str, Any], shape: tuple[int, ...]) -> Axes | None:
    """All axes in a row are one product, which the new shape cuts anew."""
    whole: Axis = tuple(atom for axis in args[0].axes for atom in axis)
    return flow.atoms.split(whole, shape)


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
    parts, why = tensors_in([args[0]]), "is put behind another"
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


RULES: dict[str, Rule] = {
    "linear": _linear,
    "addmm": _addmm,
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    **dict.fromkeys(GROUPED, _grouped),
    "scaled_dot_product_attention": _attention,
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _pooled),
    **dict.fromkeys(("softmax", "log_softmax", "normalize"), _same),
    **dict.fromkeys(("mean", "sum"), _averaged),
    **dict.fromkeys(("amax", "amin", "var", "std", "linalg_vector_norm"), _condensed),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "_unsafe_view"), _viewed),
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    **dict.fromkeys(("expand", "expand_as"), _expanded),
    "index": _picked,
    "slice": _sliced,
    "select": _selected,
    "cat": _joined,
}
