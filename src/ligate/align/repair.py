r"""REPAIR, arXiv 2211.08403: hidden units of an average get the spread that the averaged networks have.

Where networks agree only in part, what their average computes varies less from input to input, layer by layer, until
nothing is left. For each hidden unit, before its activation function, with shares s_k of the networks,

    y = gain * z + shift,    gain = sum_k s_k std_k / std(z),    shift = sum_k s_k mean_k - gain * mean(z)

over the same inputs (no labels) and all their positions: spreads are mixed, not variances. That is a factor and a shift
of a row of weights and of its bias, into which it is folded. The layers are done in the order in which they are
computed, each on what the corrected ones before it give, all inputs at once, so afterwards the numbers hold exactly.

Before a batch norm no layer needs it: there the running mean and variance are measured anew, which does as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ligate.core.errors import InputError

from .layers import Layer, Norm, batch_norms, hidden_layers
from .running import Inputs, Look, computed

if TYPE_CHECKING:
    from torch import Tensor

Note = Callable[["Layer | Norm", "Tensor", "Tensor"], None]
"""Told of each correction: gain and shift of a layer, or mean and variance of a batch norm; [units] float64."""

_STILL = 1e-6  # of its mean: a unit that varies less than that is a constant, which no factor can wake
_LEAST = 1e-15


class Statistics(NamedTuple):
    """Of the units of a layer over `number` inputs and positions; [units] float64."""

    mean: Tensor
    std: Tensor
    number: int


def repaired(
    program: Any,
    merged: Mapping[str, Tensor],
    parents: Sequence[Mapping[str, Tensor]],
    batches: Sequence[Inputs],
    *,
    shares: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """The merged weights, corrected: hidden units vary as much as those of the parents do.

    Args:
        program: of `symmetries`; the layer that brings forth the output stays as it is.
        parents: in the same coordinates as the merged weights: those that were averaged, after alignment.
        batches: unlabelled inputs of the task, some hundreds. Paddings count as inputs.
        shares: of the parents in the average; the same for all by default.

    Limits: a layer without a bias gets the gain only. A weight that is used several times stays as it is. A unit that
    never changes in the average gets the right mean, and no gain.

    Raises:
        InputError: weights, inputs or shares do not fit.
    """
    shares = [1 / len(parents)] * len(parents) if shares is None else list(shares)
    if not parents or len(shares) != len(parents):
        raise InputError(f"there are {len(parents)} parents and {len(shares)} shares", where="repair")
    return corrected(
        program, merged, mixed([statistics(program, parent, batches) for parent in parents], shares), batches
    )


def statistics(program: Any, weights: Mapping[str, Tensor], batches: Sequence[Inputs]) -> dict[str, Statistics]:
    """Of the hidden units of each layer, by the name of its weight; batch by batch."""
    layers = {layer.node: layer for layer in hidden_layers(program)}
    sums = {layer.weight: _Sums() for layer in layers.values()}

    def look(node: str, values: Sequence[Any]) -> None:
        if node in layers:
            sums[layers[node].weight].add(values, layers[node].dim)

    with torch.no_grad():
        for batch in batches:
            computed(program, weights, [batch], look)
    return {name: each.statistics() for name, each in sums.items()}


def mixed(each: Sequence[Mapping[str, Statistics]], shares: Sequence[float]) -> dict[str, Statistics]:
    """Means and spreads of several networks, weighed.

    >>> one, other = Statistics(torch.zeros(1), torch.ones(1), 4), Statistics(torch.ones(1), 3 * torch.ones(1), 4)
    >>> mixed([{"w": one}, {"w": other}], [0.5, 0.5])["w"].std.tolist()
    [2.0]
    """

    def weighed(values: Sequence[Tensor]) -> Tensor:
        return (torch.stack(list(values), -1) * torch.tensor(shares, dtype=torch.float64)).sum(-1)

    return {
        name: Statistics(
            weighed([one[name].mean for one in each]), weighed([one[name].std for one in each]), own.number
        )
        for name, own in each[0].items()
    }


def corrected(
    program: Any, weights: Mapping[str, Tensor], target: Mapping[str, Statistics], batches: Sequence[Inputs]
) -> dict[str, Tensor]:
    """Weights whose layers have the means and spreads of `target`, by the names of their weights, on these inputs.

    Batch norms are measured anew; an empty `target` does nothing else.
    """
    changed = dict(weights)

    def fold(where: Layer | Norm, first: Tensor, second: Tensor) -> None:
        now = (
            _folded(weights, where, first, second) if isinstance(where, Layer) else _kept(weights, where, first, second)
        )
        changed.update(now)

    with torch.no_grad():
        computed(program, weights, batches, correcting(program, weights, target, fold))
    return changed


def correcting(
    program: Any, weights: Mapping[str, Tensor], target: Mapping[str, Statistics], note: Note | None = None
) -> Look:
    """Corrects the values of each layer as it is computed. Gradients flow through it."""
    layers = {layer.node: layer for layer in hidden_layers(program) if layer.weight in target}
    norms = {norm.node: norm for norm in batch_norms(program)}
    measured = {norm.before: Statistics(torch.empty(0), torch.empty(0), 0) for norm in norms.values()}

    def look(node: str, values: Sequence[Any]) -> list[Tensor] | None:
        if node in measured:
            measured[node] = _Sums().add(values, 1 - values[0].ndim).statistics()
        if node in layers:
            layer = layers[node]
            gain, shift = _correction(_Sums().add(values, layer.dim).statistics(), target[layer.weight], layer.bias)
            if note:
                note(layer, gain, shift)
            return [_affine(each, gain.to(each.dtype), shift.to(each.dtype), layer.dim) for each in values]
        if node in norms:
            norm = norms[node]
            now = measured[norm.before]
            mean, variance = now.mean, now.std.square() * (now.number / max(now.number - 1, 1))
            if note:
                note(norm, mean, variance)
            return [_renormed(each, weights, norm, mean, variance) for each in values]
        return None

    return look


class _Sums:
    """Of numbers of units and of their squares, from one of their samples: exact for what never changes."""

    def __init__(self) -> None:
        self._origin: Tensor | None = None
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Sequence[Tensor], dim: int) -> _Sums:
        """`dim` is the axis of the units."""
        for each in values:
            rows = each.movedim(dim, -1).flatten(0, -2)
            if self._origin is None:
                self._origin = rows[0].detach()
            rows = rows - self._origin
            self._count += len(rows)
            self._sum = self._sum + rows.sum(0, dtype=torch.float64)
            self._squares = self._squares + rows.square().sum(0, dtype=torch.float64)
        return self

    def statistics(self) -> Statistics:
        mean = self._sum / self._count
        variance = (self._squares / self._count - mean.square()).clamp(min=_LEAST**2)
        return Statistics(mean if self._origin is None else mean + self._origin, variance.sqrt(), self._count)


def _correction(now: Statistics, target: Statistics, bias: str) -> tuple[Tensor, Tensor]:
    still = now.std <= (_STILL * now.mean.abs()).clamp(min=2 * _LEAST)
    gain = torch.where(still, 1.0, target.std / now.std)
    return gain, target.mean - gain * now.mean if bias else torch.zeros_like(gain)


def _folded(weights: Mapping[str, Tensor], layer: Layer, gain: Tensor, shift: Tensor) -> dict[str, Tensor]:
    weight = weights[layer.weight]
    found = {layer.weight: _affine(weight.double(), gain, torch.zeros_like(shift), layer.rows - weight.ndim)}
    if layer.bias:
        found[layer.bias] = _affine(weights[layer.bias].double(), gain, shift, -1)
    return {name: value.to(weights[name].dtype) for name, value in found.items()}


def _kept(weights: Mapping[str, Tensor], norm: Norm, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
    return {norm.mean: mean.to(weights[norm.mean].dtype), norm.variance: variance.to(weights[norm.variance].dtype)}


def _renormed(value: Tensor, weights: Mapping[str, Tensor], norm: Norm, mean: Tensor, variance: Tensor) -> Tensor:
    """What a batch norm says with another mean and variance, from what it says with its own."""
    weight = weights[norm.weight].double() if norm.weight else torch.ones_like(mean)
    bias = weights[norm.bias].double() if norm.bias else torch.zeros_like(mean)
    root = (variance + norm.eps).sqrt()
    gain = (weights[norm.variance].double() + norm.eps).sqrt() / root
    shift = bias - gain * bias + (weights[norm.mean].double() - mean) * weight / root
    return _affine(value, gain.to(value.dtype), shift.to(value.dtype), 1 - value.ndim)


def _affine(value: Tensor, gain: Tensor, shift: Tensor, dim: int) -> Tensor:
    """gain * value + shift, unit by unit; `dim`, counted from behind, is the axis of the units."""
    shape = [-1, *[1] * (-1 - dim)]
    return value * gain.reshape(shape) + shift.reshape(shape)
