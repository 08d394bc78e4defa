"""Maps of the units of a network: what changes on every axis on which they lie, so that the function stays as it was.

A map of a group of units is given twice: `write` for axes that bring the units forth (rows of a matrix, a bias, the
columns of a table), `read` for axes that take them in (columns of the next matrix). With M a matrix of a symmetry,

    writes:  W <- M W         reads:  W <- W M^-1, so `read` holds M^-T, of the same shape

and for a permutation or rotation both are the same. Where widths change they differ: a unit that is made of two sums
what reads them. Integers are orders: unit k becomes what unit order[k] was, exactly, whatever the type of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["permutation", "signed", "rotary", "centred", "orthogonal", "invertible"]
"""What a group's units may undergo. `rotary`: units j and j + size/2 turn and grow together, by any angle and factor,
as rotary position embeddings allow. `orthogonal`: scales of norms are folded into what reads them on the way.
`centred`: rotations that leave the vector of ones where it is, and with it the mean, which layer norms take off."""

Role = Literal["writes", "reads", "scales", "shifts", "both"]


class Place(NamedTuple):
    """Where the units of a group lie: on axis `dim` of a tensor, seen as `sizes`, they are its factor `factor`.

    Args:
        role: what the axis does with the units; `scales` is the weight of a norm, one number per unit, `shifts` its
            bias; `both` is a table that is looked up and later reads (tied embeddings): such units need maps with
            `write` = `read`.
        over: dim and factor of what counts the copies of the group, if it has several: heads on the same axis, experts
            on another (all of that axis).
        scale: the tensor that scales the units just before this place reads them, or shifts them.
    """

    tensor: str
    dim: int
    sizes: tuple[int, ...]
    factor: int
    role: Role = "writes"
    over: tuple[tuple[int, int], ...] = ()
    scale: str = ""

    def __str__(self) -> str:
        part = "" if len(self.sizes) == 1 else f" as {'x'.join(map(str, self.sizes))}, {self.factor}"
        return f"{self.tensor}[{self.dim}{part}]"


class Group(NamedTuple):
    """`size` units that move together on all of their places. Each of the `copies` (heads) may move in its own way."""

    name: str
    size: int
    places: tuple[Place, ...]
    kind: Kind = "permutation"
    copies: int = 1


class AxisMap(NamedTuple):
    """What happens to one group.

    Args:
        write: integers [size], or numbers [new size, size]; with one more axis in front where copies differ.
        read: the same for axes that read the units.
        scales: weight of a norm -> [2, size], its old and its new numbers, where a map that is no permutation folds it.
    """

    group: Group
    write: Tensor
    read: Tensor
    scales: Mapping[str, Tensor] = {}


def reordered(group: Group, order: Tensor) -> AxisMap:
    """The units in another order; [copies, size] for an order of each copy."""
    return AxisMap(group, order, order)


def mapped(name: str, tensor: Tensor, maps: Iterable[AxisMap]) -> Tensor:
    """A tensor after all maps, one after the other; where numbers change, in the maps' own type if that is wider."""
    for each in maps:
        for place in each.group.places:
            if place.tensor == name:
                tensor = _placed(tensor, place, each)
    return tensor


def applied(tensors: Mapping[str, Tensor], maps: Sequence[AxisMap]) -> dict[str, Tensor]:
    """All weights of a network after all maps. Those that no map touches are the same objects."""
    touched = {place.tensor for each in maps for place in each.group.places}
    return {name: mapped(name, value, maps) if name in touched else value for name, value in tensors.items()}


def units(tensor: Tensor, place: Place) -> Tensor:
    """[copies, size, rest]: one row for each unit of each copy."""
    view, axes = _seen(tensor, place)
    front = view.movedim(axes, tuple(range(len(axes))))
    copies = front.shape[: len(axes) - 1].numel()
    return front.reshape(copies, front.shape[len(axes) - 1], -1)


def _placed(tensor: Tensor, place: Place, each: AxisMap) -> Tensor:
    import torch

    by = each.read if place.role == "reads" else each.write
    if place.role == "scales" and by.is_floating_point():
        return each.scales[place.tensor][1].to(tensor.dtype)
    if not by.is_floating_point():
        return _moved(tensor, place, by)
    wide = tensor.to(torch.promote_types(tensor.dtype, by.dtype))
    if place.scale not in each.scales:
        return _mixed(wide, place, by.to(wide.dtype)).to(tensor.dtype)
    old, new = (_along(numbers, place, wide) for numbers in each.scales[place.scale])
    if place.role == "shifts":
        return (_mixed(wide / old, place, by.to(wide.dtype)) * new).to(tensor.dtype)
    return (_mixed(wide * old, place, by.to(wide.dtype)) / new).to(tensor.dtype)


def _moved(tensor: Tensor, place: Place, order: Tensor) -> Tensor:
    view, axes = _seen(tensor, place)
    if order.ndim == 1:
        return view.index_select(axes[-1], order).reshape(tensor.shape)
    front = view.movedim(axes, tuple(range(len(axes))))
    flat = front.flatten(0, len(axes) - 2)
    taken = flat[_counted(len(order), order), order].reshape(front.shape)
    return taken.movedim(tuple(range(len(axes))), axes).reshape(tensor.shape)


def _mixed(tensor: Tensor, place: Place, by: Tensor) -> Tensor:
    view, axes = _seen(tensor, place)
    front = view.movedim(axes, tuple(range(len(axes))))
    kept = front.shape[: len(axes) - 1]
    rows = front.reshape(kept.numel(), front.shape[len(axes) - 1], -1)
    mixed = (by @ rows).reshape(*kept, by.shape[-2], *front.shape[len(axes) :])
    back = mixed.movedim(tuple(range(len(axes))), axes)
    shape = (*tensor.shape[: place.dim], -1, *tensor.shape[place.dim + 1 :])
    return back.reshape(shape)


def _seen(tensor: Tensor, place: Place) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor with the axis taken apart, and where its copies and, last, its units are."""
    shape = (*tensor.shape[: place.dim], *place.sizes, *tensor.shape[place.dim + 1 :])
    more = len(place.sizes) - 1
    over = (dim + (factor if dim == place.dim else 0 if dim < place.dim else more) for dim, factor in place.over)
    return tensor.reshape(shape), (*over, place.dim + place.factor)


def _along(numbers: Tensor, place: Place, like: Tensor) -> Tensor:
    """One number per unit, so that it multiplies the axis."""
    return numbers.to(like.dtype).reshape([-1 if dim == place.dim else 1 for dim in range(like.ndim)])


def _counted(count: int, like: Tensor) -> Tensor:
    import torch

    return torch.arange(count, device=like.device)[:, None]
