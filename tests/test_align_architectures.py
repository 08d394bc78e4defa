"""What is read from the graphs of many architectures holds, and a network that was moved by it is found again."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import applied
from ligate.align.matching import weight_matching
from ligate.align.members import random_member
from ligate.align.wide import Wide
from ligate.core.errors import InputError
from tiny_models import ARCHITECTURES, Architecture, by_name

UNTRACEABLE = ("qwen2.5-vl",)  # its position ids depend on the values of its inputs
NOT_LOOKED_INTO = {
    "mixtral": {"topk (several results)"},  # the order of experts
    "qwen3-moe": {"topk (several results)"},
    "llava": {"masked_scatter"},  # pictures take places among the words
    "deepseek-moe": {"new_empty", "copy_", "topk (several results)"},
}


def wide(architecture: Architecture) -> tuple[nn.Module, dict[str, Any]]:
    """A model in float64, with norms and biases that are not all alike, and what it is called with."""
    model = architecture.build(1).double()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for vector in filter(lambda one: one.ndim == 1, model.parameters()):
            vector.add_(0.1 * torch.rand(vector.shape, generator=draw, dtype=vector.dtype))
    options: dict[str, Any] = {
        name: value.double() if value.is_floating_point() else value for name, value in architecture.inputs.items()
    }
    if "use_cache" in inspect.signature(model.forward).parameters or architecture.name == "llava":
        options["use_cache"] = False
    return model, options


def outputs(model: nn.Module, options: dict[str, Any]) -> list[Tensor]:
    with torch.no_grad(), Wide():
        return [each for each in model(**options).values() if isinstance(each, Tensor)]


@pytest.mark.parametrize(
    "architecture", [one for one in ARCHITECTURES if one.name not in UNTRACEABLE], ids=lambda one: one.name
)
def test_the_function_stays_and_the_weights_come_back(architecture: Architecture):
    model, options = wide(architecture)
    found = symmetries(model, (), options)
    before, said = {name: value.clone() for name, value in model.state_dict().items()}, outputs(model, options)
    draw, moved = torch.Generator().manual_seed(4), before
    for group in found.groups:
        moved = applied(moved, [random_member(group, moved, draw)])
    model.load_state_dict(moved)
    for one, other in zip(said, outputs(model, options), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    assert set(found.unknown) == NOT_LOOKED_INTO.get(architecture.name, set())
    back = weight_matching(before, moved, found.groups, starts=1).applied(moved, found.groups)
    assert max(float((before[name] - moved[name]).abs().max()) for name in before) > 0.05
    for name, value in before.items():
        torch.testing.assert_close(back[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_cannot_be_traced_is_told(name: str):
    model, options = wide(by_name(name))
    with pytest.raises(InputError, match="cannot be traced"):
        symmetries(model, (), options)
