"""Layers of a traced network that bring forth hidden units, and its batch norms: where statistics can be put right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .running import operation, weight_of

_SPATIAL = {"conv1d": 1, "conv2d": 2, "conv3d": 3}


class Layer(NamedTuple):
    """A matrix or a convolution, and a bias or an empty name.

    Args:
        node: the value of the graph that it computes; the units are its axis `dim`, counted from behind.
        rows: the axis of `weight` that has the units.
    """

    node: str
    weight: str
    bias: str
    dim: int
    rows: int


class Norm(NamedTuple):
    """A batch norm: what it computes, from which value, with which weights; units are axis 1 of both values."""

    node: str
    before: str
    weight: str
    bias: str
    mean: str
    variance: str
    eps: float


def hidden_layers(program: Any) -> list[Layer]:
    """Those whose weight is used once, which no batch norm follows, and whose units are not those of the output.

    The units of the output are what reaches it without another layer in between; so is the stream that all blocks of a
    transformer without a head add to.
    """
    layers = {node.name: layer for node in program.graph.nodes if (layer := _layer(program, node))}
    uses = [layer.weight for layer in layers.values()]
    apart = _last(program.graph, layers) | {norm.before for norm in batch_norms(program)}
    return [each for each in layers.values() if uses.count(each.weight) == 1 and each.node not in apart]


def batch_norms(program: Any) -> list[Norm]:
    found: list[Norm] = []
    for node in program.graph.nodes:
        if operation(node) == "batch_norm":
            names = [weight_of(program, arg) for arg in node.args[1:5]]
            found.append(Norm(node.name, node.args[0].name, *names, eps=node.args[7]))
    return found


def _layer(program: Any, node: Any) -> Layer | None:
    name = operation(node)
    if name == "addmm":
        bias, _, weight = (weight_of(program, arg) for arg in node.args[:3])
        return Layer(node.name, weight, bias, -1, 1) if weight else None
    if name != "linear" and name not in _SPATIAL:
        return None
    weight, *bias = (weight_of(program, arg) for arg in node.args[1:3])
    return Layer(node.name, weight, bias[0] if bias else "", -1 - _SPATIAL.get(name, 0), 0) if weight else None


def _last(graph: Any, layers: Mapping[str, Layer]) -> set[str]:
    """Layers from which a way leads to the output that passes no other layer."""
    found: set[str] = set()
    waiting, known = list(graph.output_node().all_input_nodes), set[str]()
    while waiting:
        node = waiting.pop()
        if node.name in layers:
            found.add(node.name)
        elif node.name not in known:
            waiting.extend(node.all_input_nodes)
        known.add(node.name)
    return found
