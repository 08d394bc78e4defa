"""RegMean++: inputs of linear layers, measured block by block behind the blocks that are merged already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ligate.core.errors import InputError
from ligate.core.layers import blocks

from .measuring import Ask, Enough, Gathered, Mask, Measured, asked, attention_mask, count, linear_layers, measured
from .merging import Weights
from .objectives import Batch

Rule = Callable[[Tensor, Sequence[Tensor] | None], Tensor]
"""(weights of the experts [K, *S], their Gram matrices or None) -> the merged weight: RegMean with its parameters."""


def regmean_pp(
    module: nn.Module,
    experts: Sequence[Weights],
    asks: Sequence[Ask],
    batches: Sequence[Sequence[Batch]],
    rule: Rule,
    *,
    mask: Mask = attention_mask,
) -> list[Measured]:
    r"""For each expert the Gram matrices of the inputs that its layers get in the merged network.

    A block is a layer of the network (`layers.3`), or outside of the layers a module. What holds no linear layer is
    merged first. Then block after block, in the order in which the network runs them: expert k's block is asked the
    examples of its task behind the merged blocks, which gives its Gram matrices, and the block is merged by `rule`.
    The same rule on the result gives the same merge again, which the module is left with.

    Args:
        module: holds every parameter that is merged; others it may hold as buffers.
        asks: how to ask the module the task of each expert; `batches`: examples of each task, asked once a block.

    Source: arXiv:2508.03121, and its implementation in FusionBench.
    Differs: that code knows CLIP's vision towers only, keeps the hidden states of all examples between the blocks
        where this one asks anew up to the block, and leaves what stands behind the last layer as it was.

    Raises:
        InputError: there is no example, or an expert lacks a parameter; the errors of `grams`.
    """
    _require(module, experts, asks, batches)
    parameters = dict(module.named_parameters())
    where = blocks(parameters)
    layers, found = linear_layers(module), [dict[str, Tensor]() for _ in experts]
    with asked(module), torch.no_grad():
        order = _order(layers, where, [(ask, each[0].inputs) for ask, each in zip(asks, batches, strict=True)])
        left = [name for name in parameters if where[name] in order]
        _merge([name for name in parameters if where[name] not in order], parameters, experts, {}, rule)
        for block, calls in order.items():
            inside = {name: layers[name] for name in calls}
            for number, (expert, ask) in enumerate(zip(experts, asks, strict=True)):
                _write(left, parameters, expert)
                found[number] |= _gathered(ask, batches[number], Gathered(inside, mask, sum(calls.values())))
            grams = {name: [each[name] for each in found] for name in inside}
            _merge([name for name in left if where[name] == block], parameters, experts, grams, rule)
            left = [name for name in left if where[name] != block]
    numbers = (sum(count(batch.inputs) for batch in each) for each in batches)
    pairs = zip(found, numbers, strict=True)
    return [measured(module, "grams", each, number, how="behind merged blocks") for each, number in pairs]


def _order(
    layers: Mapping[str, nn.Module], where: Mapping[str, str], questions: Sequence[tuple[Ask, Any]]
) -> dict[str, dict[str, int]]:
    """The blocks in the order in which they run first, and how often each of their linear layers runs."""
    found: dict[str, dict[str, int]] = {}
    for ask, inputs in questions:
        calls: dict[str, dict[str, int]] = {}

        def hook(name: str, calls: dict[str, dict[str, int]] = calls) -> Callable[..., None]:
            def note(layer: nn.Module, inputs: Any) -> None:
                own = calls.setdefault(where[name], {})
                own[name] = own.get(name, 0) + 1

            return note

        hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
        try:
            ask(inputs)
        finally:
            for one in hooks:
                one.remove()
        if not found:
            found = calls
        elif found != calls:
            hint = "measure `grams` of each expert instead."
            raise InputError("the tasks run other layers, or in another order", where="regmean_pp", hint=hint)
    return found


def _gathered(ask: Ask, batches: Sequence[Batch], into: Gathered) -> dict[str, Tensor]:
    with into:
        for batch in batches:
            into.before(batch.inputs)
            try:
                ask(batch.inputs)
            except Enough:  # what follows the block is of no interest yet
                continue
    return into.means()


def _write(names: Sequence[str], parameters: Mapping[str, Tensor], weights: Weights) -> None:
    for name in names:
        parameters[name].copy_(weights[name])


def _merge(
    names: Sequence[str],
    parameters: Mapping[str, Tensor],
    experts: Sequence[Weights],
    grams: Mapping[str, Sequence[Tensor]],
    rule: Rule,
) -> None:
    for name in names:
        wide = torch.promote_types(parameters[name].dtype, torch.float32)
        parameters[name].copy_(rule(torch.stack([each[name].to(wide) for each in experts]), grams.get(name)))


def _require(
    module: nn.Module, experts: Sequence[Weights], asks: Sequence[Ask], batches: Sequence[Sequence[Batch]]
) -> None:
    if not len(experts) == len(asks) == len(batches) or not experts:
        text = f"{len(experts)} experts, {len(asks)} ways to ask and {len(batches)} tasks with batches"
        raise InputError(text, where="regmean_pp", hint="give one of each for every expert.")
    for number, each in enumerate(batches):
        if not each:
            text = "there is no example"
            raise InputError(text, where=f"regmean_pp, expert {number}", hint="give at least one batch.")
    for name, one in module.named_parameters():
        for number, weights in enumerate(experts):
            if name not in weights or weights[name].shape != one.shape:
                text = f"expert {number} has no tensor {name} of shape {list(one.shape)}"
                hint = "all experts must have the module's parameters."
                raise InputError(text, where=f"tensor {name}", hint=hint)
