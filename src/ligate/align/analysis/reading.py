"""What the layers of a network read, recorded on given inputs: the units that an analysis compares.

A layer is whatever reads through a matrix or a convolution of its own; its units are the numbers that it reads at one
place: after activation function and norm, heads side by side. Layers that read the inputs themselves are left out: both
networks read the same there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ligate.align.running import Inputs, computed, operation, weight_of
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_SPATIAL = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
MOST = 4096


class Read(NamedTuple):
    """A value of the graph, with its units on axis `dim` counted from behind; `name` is that of its first reader."""

    name: str
    node: str
    dim: int


class Recorded(NamedTuple):
    """`values` [samples, units]; each input gives `rows` samples (places), one after the other."""

    values: Tensor
    rows: int


def reads(program: Any) -> list[Read]:
    """Values that layers read, in the order in which they are computed, each once.

    Args:
        program: a torch.export.ExportedProgram, such as `symmetries(...).program`.
    """
    learned, inputs = _learned(program), _inputs(program)
    found: dict[str, Read] = {}
    for node in program.graph.nodes:
        place = _place(node)
        weight = weight_of(program, node.args[place[1]]) if place else ""
        value = node.args[place[0]] if place else node
        if weight and value.name in learned and value.meta["val"].shape[0] % inputs == 0:
            dim = -1 - _SPATIAL.get(operation(node), 0)
            found.setdefault(value.name, Read(weight.removesuffix(".weight"), value.name, dim))
    return list(found.values())


def recorded(
    program: Any, weights: Mapping[str, Tensor], batches: Sequence[Inputs], most: int = MOST
) -> dict[str, Recorded]:
    """What each layer reads, by its name, for one batch after the other.

    Args:
        batches: each of the shapes of the trace.
        most: samples per layer. Where inputs have more places than fit, every input gives as many, evenly chosen, the
            same in each.

    Raises:
        InputError: weights or inputs do not fit the trace, or there is no batch.
    """
    if not batches:
        raise InputError("no inputs to record activations on", hint="give at least one batch.")
    wanted = {read.node: read for read in reads(program)}
    parts: dict[str, list[Tensor]] = {node: [] for node in wanted}
    inputs = _inputs(program)
    places = max(1, most // (inputs * len(batches)))

    def look(node: str, values: Sequence[Any]) -> None:
        if node in wanted:
            units = values[0].movedim(wanted[node].dim, -1)
            parts[node].append(_some(units.reshape(inputs, -1, units.shape[-1]), places))

    with torch.no_grad():
        for batch in batches:
            computed(program, weights, [batch], look)
    whole = {node: torch.cat(values) for node, values in parts.items()}
    return {wanted[node].name: Recorded(value.flatten(0, 1), value.shape[1]) for node, value in whole.items()}


def _place(node: Any) -> tuple[int, int] | None:
    """Which arguments of an operation are what is read and the weight; None for other operations."""
    name = operation(node) if node.op == "call_function" else ""
    if name == "addmm":
        return 1, 2
    return (0, 1) if name == "linear" or name in _SPATIAL else None


def _learned(program: Any) -> set[str]:
    """Values into which both a weight and an input have gone."""
    weighty, given = set[str](), {node.name for node in _given(program)}
    for node in program.graph.nodes:
        before = [each.name for each in node.all_input_nodes]
        if weight_of(program, node) or any(name in weighty for name in before):
            weighty.add(node.name)
        if any(name in given for name in before):
            given.add(node.name)
    return weighty & given


def _given(program: Any) -> list[Any]:
    """The inputs that are tensors."""
    names = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.name in names and hasattr(node.meta.get("val"), "shape")]


def _inputs(program: Any) -> int:
    """How many inputs a batch holds: the first axis of whatever the network is given."""
    return _given(program)[0].meta["val"].shape[0]


def _some(values: Tensor, places: int) -> Tensor:
    """Of [inputs, places, units] so many places, evenly chosen."""
    chosen = torch.linspace(0, values.shape[1] - 1, min(places, values.shape[1])).round().long()
    return values[:, chosen].float()
