"""A traced network computed again: with other weights, on other inputs, with a look at every value on the way.

The trace is a list of operations; they are done one after the other, each for all batches before the next one. So
whoever looks on sees a value for all inputs at once, and may put another in its place before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx  # not `from torch.fx`: where torch is loaded when it is first used, that would load its part twice
from torch.fx.node import map_arg

from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Inputs = Sequence["Tensor"] | Mapping[str, "Tensor"]
"""One batch: the tensors that the network was traced with, in their order or by name; their shapes are those of the
trace. Inputs that are no tensors keep the values of the trace."""

Look = Callable[[str, Sequence[Any]], Sequence[Any] | None]
"""(name of a value in the graph, the value for each batch) -> what takes its place, or None to leave it."""


def computed(
    program: Any, weights: Mapping[str, Tensor], batches: Sequence[Inputs], look: Look | None = None
) -> list[Any]:
    """What the network says to each batch: the first of its outputs. Gradients flow to the weights.

    Batches are held in memory together, each with the values that are still needed; call it for one batch at a time
    where nothing depends on the others.

    Raises:
        InputError: weights or inputs do not fit the trace, or it was traced while training.
    """
    require_evaluation(program)
    held = _held(program, weights)
    values = [{**held, **_given(program, batch)} for batch in batches]
    last = _last_uses(program.graph)
    said: list[Any] = []
    for node in program.graph.nodes:
        if node.op == "call_function":
            _compute(node, values, look)
        elif node.op == "get_attr":
            found = getattr(program.graph_module, node.target)
            for each in values:
                each[node.name] = found
        elif node.op == "output":
            said = [map_arg(node.args[0], lambda arg, own=each: own[arg.name])[0] for each in values]
        for name in last.get(node.name, ()):
            for each in values:
                each.pop(name, None)
    return said


def require_evaluation(program: Any) -> None:
    """Raises InputError where dropout or batch norms do what they do only in training."""
    for node in program.graph.nodes:
        training = {"dropout": 2, "batch_norm": 5}.get(operation(node))
        if training is not None and node.args[training]:
            raise InputError(
                "was traced while training, so it says something else each time it is asked",
                where=node.name,
                hint="call model.eval() before symmetries(...).",
            )


def operation(node: fx.Node) -> str:
    """`linear` of `aten.linear.default`."""
    target = str(node.target)
    return target.split(".")[1] if target.startswith("aten.") else target


def weight_of(program: Any, arg: Any) -> str:
    """The name of the weight or buffer that an argument of an operation is; empty for anything else."""
    if not isinstance(arg, fx.Node):
        return ""
    signature = program.graph_signature
    return signature.inputs_to_parameters.get(arg.name) or signature.inputs_to_buffers.get(arg.name) or ""


def _compute(node: fx.Node, values: Sequence[dict[str, Any]], look: Look | None) -> None:
    target: Any = node.target
    for each in values:
        args, options = map_arg((node.args, dict(node.kwargs)), lambda arg, own=each: own[arg.name])
        each[node.name] = target(*args, **options)
    seen = look(node.name, [each[node.name] for each in values]) if look else None
    for each, value in zip(values, seen or (), strict=seen is not None):
        each[node.name] = value


def _held(program: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What is the same for all batches: weights, buffers, constants."""
    found: dict[str, Any] = {}
    for node, spec in _placeholders(program):
        if spec.target is not None and node.users:
            value = _weight(program, spec.target, weights)
            found[node.name] = _fitting(value, node, f"tensor {spec.target}")
        elif not isinstance(node.meta.get("val"), torch.Tensor):
            found[node.name] = getattr(spec.arg, "value", None)
    return found


def _given(program: Any, batch: Inputs) -> dict[str, Any]:
    wanted = {
        node.name: node
        for node, spec in _placeholders(program)
        if spec.target is None and isinstance(node.meta.get("val"), torch.Tensor)
    }
    named = dict(batch) if isinstance(batch, Mapping) else dict(zip(wanted, batch, strict=False))
    if set(named) != set(wanted) or len(batch) != len(wanted):
        told = ", ".join(batch) if isinstance(batch, Mapping) else f"{len(batch)} tensors"
        raise InputError(f"the network takes {', '.join(wanted)}, but was given {told}", where="inputs")
    return {name: _fitting(named[name], node, f"input {name}") for name, node in wanted.items()}


def _placeholders(program: Any) -> list[tuple[fx.Node, Any]]:
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    return list(zip(nodes, program.graph_signature.input_specs, strict=True))


def _weight(program: Any, name: str, weights: Mapping[str, Tensor]) -> Any:
    """Constants and buffers that no checkpoint has are those of the trace; a weight of two names needs only one."""
    if name in weights:
        return weights[name]
    if name not in program.state_dict:
        return program.constants[name]
    own = program.state_dict[name]
    for other, value in program.state_dict.items():
        if other in weights and value is own:
            return weights[other]
    raise InputError("is not among the weights", where=f"tensor {name}", hint="give all weights of the traced network.")


def _fitting(value: Any, node: fx.Node, where: str) -> Any:
    """In the type of the trace, on whose casts the graph relies."""
    like = node.meta.get("val")
    if not isinstance(like, torch.Tensor) or not isinstance(value, torch.Tensor):
        return value
    if value.shape != like.shape:
        raise InputError(
            f"has the shape {list(value.shape)}, in the trace it is {list(like.shape)}",
            where=where,
            hint="trace the network with inputs of the same shape as each batch.",
        )
    return value.to(like.dtype)


def _last_uses(graph: Any) -> dict[str, list[str]]:
    """Node -> values that nothing needs after it."""
    last: dict[str, str] = {}
    for node in graph.nodes:
        last[node.name] = node.name
        for given in node.all_input_nodes:
            last[given.name] = node.name
    found: dict[str, list[str]] = {}
    for name, at in last.items():
        found.setdefault(at, []).append(name)
    return found
