"""Rotary position embeddings in an exported graph, found by what they compute:

    y = x * c + [-x_2, x_1] * s        x = [x_1, x_2] two halves, c and s made of two equal halves, whatever they are

which turns and scales each pair (x_1j, x_2j) by numbers of its own, and so commutes with any map that turns and scales
each pair. RoFormer, arXiv 2104.09864, as Llama, Qwen and Mistral compute it. Pairs of neighbours (GPT-J) are not looked
for: there the units stay fixed.
"""

from __future__ import annotations

import operator
from typing import Any

import torch


def turned(graph: Any) -> tuple[dict[str, str], frozenset[str]]:
    """Node that holds y -> node that holds x; and the nodes between them, which mean nothing by themselves."""
    found: dict[str, str] = {}
    inside: set[str] = set()
    for node in graph.nodes:
        match = _match(node)
        if match is not None:
            found[node.name] = match[0].name
            inside |= {each.name for each in match[1]}
    return found, frozenset(inside)


def _match(node: Any) -> tuple[Any, list[Any]] | None:
    if not _is(node, "add"):
        return None
    for plain, swapped in (node.args[:2], node.args[1::-1]):
        for x, c in _factors(plain):
            for half, s in _factors(swapped):
                between = _swap_of(half, x)
                if between and _halves_equal(c) and _halves_equal(s) and _only_inside([plain, swapped, *between], node):
                    return x, [plain, swapped, *between]
    return None


def _swap_of(half: Any, x: Any) -> list[Any] | None:
    """The nodes of [-x_2, x_1], if that is what `half` is."""
    if not _is(half, "cat") or len(half.args[0]) != 2 or not _last(half, half.args[1] if len(half.args) > 1 else 0):
        return None
    turned_, kept = half.args[0]
    if not _is(turned_, "neg"):
        return None
    high, size = turned_.args[0], _size(x)
    if size is None or not (_cut(high, x, size // 2, size) and _cut(kept, x, 0, size // 2)):
        return None
    return [half, turned_, high, kept]


def _cut(node: Any, x: Any, start: int, stop: int) -> bool:
    if not _is(node, "slice") or node.args[0] is not x or len(node.args) < 4 or not _last(x, node.args[1]):
        return False
    return (node.args[2] or 0) == start and min(node.args[3], _size(x) or 0) == stop


def _halves_equal(node: Any) -> bool:
    """Through whatever is computed number by number, down to something that is put behind itself."""
    while _is_node(node):
        if _is(node, "cat"):
            parts = node.args[0]
            return len(parts) == 2 and parts[0] is parts[1] and _last(node, node.args[1] if len(node.args) > 1 else 0)
        if not _is(node, "cos", "sin", "to", "_to_copy", "clone", "alias", "unsqueeze", "mul", "detach"):
            return False
        if _is(node, "mul") and _is_node(node.args[1]):
            return False
        if _is(node, "unsqueeze") and node.args[1] in (-1, len(node.meta["val"].shape) - 1):
            return False
        node = node.args[0]
    return False


def _only_inside(nodes: list[Any], last: Any) -> bool:
    """Nobody else looks at what lies between x and y."""
    allowed = {*nodes, last}
    return all(user in allowed for node in nodes for user in node.users)


def _factors(node: Any) -> list[tuple[Any, Any]]:
    if not _is(node, "mul") or not all(map(_is_node, node.args[:2])):
        return []
    one, other = node.args[:2]
    return [(one, other), (other, one)]


def _is_node(node: Any) -> bool:
    return isinstance(node, torch.fx.Node)


def _is(node: Any, *names: str) -> bool:
    if not _is_node(node) or node.op != "call_function" or node.target is operator.getitem:
        return False
    parts = str(node.target).split(".")
    return len(parts) == 3 and parts[0] == "aten" and parts[1] in names


def _last(node: Any, dim: int) -> bool:
    return dim in (-1, len(node.meta["val"].shape) - 1)


def _size(node: Any) -> int | None:
    value = node.meta.get("val")
    return int(value.shape[-1]) if isinstance(value, torch.Tensor) and value.ndim else None
