"""Gram matrices behind merged blocks; the comparison with public code is in tests/test_official_statistics.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from ligate.core.errors import InputError
from ligate.learn.measuring import grams
from ligate.learn.objectives import Batch
from ligate.learn.regmean_pp import regmean_pp


class Net(nn.Module):
    """Runs its layers from the last to the first, which their names do not tell."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.scale = nn.Parameter(torch.randn(3))
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        for layer in reversed(self.layers):
            x = torch.tanh(layer(x))
        return x


def rule(tuned: Tensor, known: Sequence[Tensor] | None) -> Tensor:
    """No RegMean, but as much a function of both."""
    if known is None:
        return tuned.mean(0)
    shares = torch.stack([gram.trace() for gram in known])
    return (tuned * (shares / shares.sum())[:, None, None]).sum(0)


def questions(seed: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(seed)
    return [Batch(torch.randn(5, 3, generator=draw, dtype=torch.float64)) for _ in range(2)]


def experts() -> list[dict[str, Tensor]]:
    return [Net(seed).state_dict() for seed in (1, 2)]


def test_every_block_gets_its_inputs_from_merged_ones():
    module, asked = Net(9), [questions(1), questions(2)]
    found = regmean_pp(module, experts(), [module, module], asked, rule)
    behind = Net(0)  # merged in the order in which the network runs, written down
    behind.load_state_dict({name: rule(torch.stack([each[name] for each in experts()]), None) for name in experts()[0]})
    for number in (2, 1, 0):
        name = f"layers.{number}.weight"
        due = [grams(behind, behind, each).tensors[name] for each in asked]
        for each, gram in zip(found, due, strict=True):
            torch.testing.assert_close(each.tensors[name], gram, rtol=1e-12, atol=1e-14)
        merged = rule(torch.stack([each[name] for each in experts()]), due)
        torch.testing.assert_close(module.state_dict()[name], merged, rtol=1e-12, atol=0)
        behind.get_parameter(name).data.copy_(merged)
    assert [each.metadata["examples"] for each in found] == ["10", "10"]
    assert found[0].metadata["model"] == grams(module, module, asked[0]).metadata["model"]  # of the merge


def test_later_blocks_are_not_asked_while_a_block_is_measured():
    module, seen = Net(9), []
    module.layers[0].register_forward_pre_hook(lambda *_: seen.append(1))
    regmean_pp(module, experts(), [module, module], [questions(1), questions(2)], rule)
    assert len(seen) == 2 + 4  # once to see the order, and when its own inputs are measured


def test_a_block_runs_its_own_layers_with_the_weights_of_each_expert():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x))

    def net(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.ModuleDict({"layers": nn.ModuleList([Block()])}).double()

    module, both = net(9), [net(1), net(2)]

    def ask(x: Tensor) -> Tensor:
        return module["layers"][0](x)

    found = regmean_pp(module, [one.state_dict() for one in both], [ask, ask], [questions(1), questions(2)], rule)
    for one, each, own in zip(both, (questions(1), questions(2)), found, strict=True):
        x = torch.cat([batch.inputs for batch in each])
        inner = one["layers"][0].up(x).detach()
        torch.testing.assert_close(own.tensors["layers.0.down.weight"], inner.T @ inner / len(x))


def test_what_does_not_go_together_is_told():
    module = Net(9)
    with pytest.raises(InputError, match="2 experts, 1 ways to ask"):
        regmean_pp(module, experts(), [module], [questions(1), questions(2)], rule)
    with pytest.raises(InputError, match="no example"):
        regmean_pp(module, experts(), [module, module], [questions(1), []], rule)
    lacking = {name: one for name, one in experts()[1].items() if name != "scale"}
    with pytest.raises(InputError, match="expert 1 has no tensor scale of shape"):
        regmean_pp(module, [experts()[0], lacking], [module, module], [questions(1), questions(2)], rule)
    with pytest.raises(InputError, match="other layers, or in another order"):
        regmean_pp(module, experts(), [module, module.layers[0]], [questions(1), questions(2)], rule)
