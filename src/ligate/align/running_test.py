from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.running import computed
from ligate.core.errors import InputError


class Tied(nn.Module):
    """One table for both ends; a buffer that no checkpoint has; an input that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("places", torch.randn(4, 6), persistent=False)
        self.body = nn.Linear(6, 6)

    def forward(self, words: torch.Tensor, mask: torch.Tensor, twice: bool = False) -> torch.Tensor:
        x = (self.table(words) + self.places) * mask[..., None]
        x = x + self.body(x).relu_()
        return self.head(2 * x if twice else x)


def words(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(11, (3, 4), generator=generator), torch.rand(3, 4, generator=generator)


def trained(seed: int = 0) -> Tied:
    torch.manual_seed(seed)
    return Tied().eval()


@pytest.mark.parametrize("named", [False, True])
def test_it_says_what_the_module_says_with_other_weights_and_inputs(named: bool):
    model, other = trained(0), trained(1)
    other.places = model.places
    program = symmetries(model, words(0), {"twice": True}).program
    weights = {name: value for name, value in other.state_dict().items() if name != "head.weight"}
    batches = [dict(zip(("words", "mask"), words(seed), strict=True)) if named else words(seed) for seed in (1, 2)]
    with torch.no_grad():
        for said, seed in zip(computed(program, weights, batches), (1, 2), strict=True):
            torch.testing.assert_close(said, other(*words(seed), twice=True), rtol=0, atol=0)


def test_values_are_seen_for_all_batches_and_may_be_replaced():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    program = symmetries(model, (torch.zeros(5, 2),)).program
    seen = []

    def look(node, values):
        seen.append((node, len(values)))
        return [torch.zeros_like(each) for each in values] if node == "relu" else None

    said = computed(program, model.state_dict(), [(torch.randn(5, 2),)] * 2, look)
    assert seen == [("linear", 2), ("relu", 2), ("linear_1", 2)]
    assert all(torch.equal(each, model[2].bias.expand(5, 1)) for each in said)


def test_gradients_reach_the_weights():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    program = symmetries(model, (torch.zeros(5, 2),)).program
    x = torch.randn(5, 2)
    weights = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    computed(program, weights, [(x,)])[0].sum().backward()
    model(x).sum().backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(weights[name].grad, value.grad)


def test_what_does_not_fit_is_named():
    model = trained()
    program = symmetries(model, words(0)).program
    weights = model.state_dict()
    with pytest.raises(InputError, match=r"input mask: has the shape \[2\], in the trace it is \[3, 4\]"):
        computed(program, weights, [(words(0)[0], torch.zeros(2))])
    with pytest.raises(InputError, match=r"takes words, mask, but was given 1 tensors"):
        computed(program, weights, [words(0)[:1]])
    with pytest.raises(InputError, match=r"takes words, mask, but was given words, masks"):
        computed(program, weights, [dict(zip(("words", "masks"), words(0), strict=True))])
    with pytest.raises(InputError, match=r"tensor body.bias: is not among the weights"):
        computed(program, {name: value for name, value in weights.items() if name != "body.bias"}, [words(0)])
    with pytest.raises(InputError, match=r"tensor body.bias: has the shape \[1\]"):
        computed(program, {**weights, "body.bias": torch.zeros(1)}, [words(0)])


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(2)])
def test_a_trace_of_training_is_refused(layer: nn.Module):
    program = symmetries(nn.Sequential(nn.Linear(2, 2), layer).train(), (torch.zeros(3, 2),)).program
    with pytest.raises(InputError, match=r"model\.eval"):
        computed(program, {}, [])
