r"""What the units of each group do on given inputs, and how that of two networks goes together.

Units lie on many values of a graph: what a layer writes, what an activation function makes of it, views of it. `at`
says which of them are looked at:

    read      what layers, attention and products of matrices take in: after activation functions and norms (default:
              the paper compares activations, and these are what the next weights see)
    written   what layers give out: before activation functions
    all       every value, views and sums of a residual stream too

A group that has none of the wanted values is seen on all of its own. For two networks only sums are kept, in float64,
however many inputs there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from ligate.core.errors import InputError

from .maps import Place, units
from .running import Inputs, computed, operation

if TYPE_CHECKING:
    from torch import Tensor

    from .axes.graph import Seen, Symmetries

At = Literal["read", "written", "all"]
By = Literal["products", "covariance", "correlation"]

_LAYERS = frozenset(
    ["linear", "addmm", "matmul", "bmm", "mm", "conv1d", "conv2d", "conv3d", "embedding", "grouped_mm", "_grouped_mm"]
)
_READERS = _LAYERS | {"scaled_dot_product_attention"}
_STILL = 1e-12  # of the mean square: a variance below it is rounding
_LEAST = 1e-300


class Crossed(NamedTuple):
    """Sums over `number` samples of one value, in float64, for units of A and of B.

    Args:
        first, second: [copies, size] the units.
        squares: [copies, size] their squares, of A and of B.
        products: [copies of A, copies of B, size, size] of each unit of A with each of B.
    """

    number: int
    first: Tensor
    second: Tensor
    squares: tuple[Tensor, Tensor]
    products: Tensor

    def plus(self, other: Crossed) -> Crossed:
        squares = self.squares[0] + other.squares[0], self.squares[1] + other.squares[1]
        sums = self.first + other.first, self.second + other.second
        return Crossed(self.number + other.number, *sums, squares, self.products + other.products)


def recorded(
    found: Symmetries, weights: Mapping[str, Tensor], batches: Sequence[Inputs], *, at: At = "read"
) -> dict[str, Tensor]:
    """Group -> [samples, units], or [samples, copies, units] where it has several: all samples, in memory.

    A sample is an input at one position of one of the values. Groups of which nothing is seen are left out.

    Raises:
        InputError: weights or inputs do not fit the trace.
    """
    places = looked_at(found, at)
    kept: dict[str, list[Tensor]] = {name: [] for name in places}
    for batch in batches:
        for name, values in _seen(found, weights, batch, places).items():
            kept[name] += [value.movedim(-1, 0) for value in values]
    copies = {group.name: group.copies for group in found.groups}
    joined = {name: torch.cat(values) for name, values in kept.items() if values}
    return {name: values if copies[name] > 1 else values[:, 0] for name, values in joined.items()}


def crossed(
    found: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    batches: Sequence[Inputs],
    *,
    at: At = "read",
) -> dict[str, tuple[Crossed, ...]]:
    """Group -> for each of its values what the units of A and of B do together, batch by batch.

    Raises:
        InputError: weights or inputs do not fit the trace, or there are no inputs.
    """
    places = looked_at(found, at)
    total: dict[str, tuple[Crossed, ...]] = {}
    for batch in batches:
        both = [_seen(found, weights, batch, places) for weights in (a, b)]
        for name in places:
            now = tuple(_crossed(*each) for each in zip(both[0][name], both[1][name], strict=True))
            before = total.get(name)
            total[name] = tuple(one.plus(more) for one, more in zip(before, now, strict=True)) if before else now
    if not total and places:
        raise InputError("there are no inputs", where="activations", hint="give some hundreds, unlabelled.")
    return total


def scores(values: Sequence[Crossed], by: By = "products") -> Tensor:
    """[copies of A, copies of B, size, size]: how well each unit of A goes together with each of B, over all values.

    products    the mean of x y; covariance: of what is left of it without the means. Both are divided by the root of
                the mean squares of all units of A and of B, so that no value counts more because its numbers are large.
    correlation each unit by its own spread; one that never changes goes together with none.
    """
    return torch.stack([_scores(each, by) for each in values]).sum(0)


def looked_at(found: Symmetries, at: At) -> dict[str, tuple[Seen, ...]]:
    """Group -> the values on which it is seen, where all of its copies are."""
    nodes = {node.name: node for node in found.program.graph.nodes}
    places: dict[str, tuple[Seen, ...]] = {}
    for group in found.groups:
        whole = [each for each in found.seen[group.name] if _copies(nodes[each.node], each) == group.copies]
        wanted = [each for each in whole if at == "all" or _is(nodes[each.node], at)]
        if whole:
            places[group.name] = tuple(wanted or whole)
    return places


def _is(node: Any, at: At) -> bool:
    if at == "written":
        return operation(node) in _LAYERS
    return any(operation(user) in _READERS for user in node.users)


def _copies(node: Any, seen: Seen) -> int:
    sizes = [seen.sizes[factor] if dim == seen.dim else node.meta["val"].shape[dim] for dim, factor in seen.over]
    return torch.Size(sizes).numel()


def _seen(
    found: Symmetries, weights: Mapping[str, Tensor], batch: Inputs, places: Mapping[str, Sequence[Seen]]
) -> dict[str, list[Tensor]]:
    """Group -> [copies, size, samples] of each of its values."""
    wanted: dict[str, list[tuple[str, Seen]]] = {}
    for name, values in places.items():
        for each in values:
            wanted.setdefault(each.node, []).append((name, each))
    kept: dict[str, list[Tensor]] = {name: [] for name in places}

    def look(node: str, values: Sequence[Any]) -> None:
        for name, each in wanted.get(node, ()):
            # a copy: what computes in place afterwards would change it
            kept[name].append(units(values[0], Place(node, each.dim, each.sizes, each.factor, over=each.over)).clone())

    with torch.no_grad():
        computed(found.program, weights, [batch], look)
    return kept


def _crossed(one: Tensor, other: Tensor) -> Crossed:
    one, other = one.double(), other.double()
    products = torch.einsum("cis,djs->cdij", one, other)
    squares = one.square().sum(-1), other.square().sum(-1)
    return Crossed(one.shape[-1], one.sum(-1), other.sum(-1), squares, products)


def _scores(each: Crossed, by: By) -> Tensor:
    squares = [sums / each.number for sums in each.squares]
    means = [sums / each.number for sums in (each.first, each.second)]
    products = each.products / each.number
    if by != "products":
        products = products - torch.einsum("ci,dj->cdij", *means)
        squares = [square - mean.square() for square, mean in zip(squares, means, strict=True)]
    if by == "correlation":
        still = [variance <= _STILL * sums / each.number for variance, sums in zip(squares, each.squares, strict=True)]
        one, other = (variance.rsqrt().masked_fill(no, 0) for variance, no in zip(squares, still, strict=True))
        return products * one[:, None, :, None] * other[None, :, None, :]
    return products / (squares[0].sum() * squares[1].sum()).clamp(min=_LEAST).sqrt()
