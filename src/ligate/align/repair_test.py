from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.layers import hidden_layers
from ligate.align.repair import Statistics, corrected, repaired, statistics
from ligate.core.errors import InputError


def half(a, b):
    return {name: (value + b[name]) / 2 if value.is_floating_point() else value for name, value in a.items()}


def hooked(model: nn.Module, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """[units, samples] of what a layer computes, by torch itself."""
    found = []
    handle = layer.register_forward_hook(lambda *given: found.append(given[2].detach()))
    with torch.no_grad():
        model(x)
    handle.remove()
    return found[0].transpose(0, 1).flatten(1).double()


def test_two_independent_units_of_spread_one_get_a_gain_of_the_root_of_two():
    """The half of their sum has the spread 0.7071; each of them has 1."""
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).eval()
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    given = {"0.bias": torch.zeros(1), "2.weight": torch.ones(1, 1), "2.bias": torch.zeros(1)}
    one, other = ({**given, "0.weight": torch.tensor([row])} for row in ([1.0, 0.0], [0.0, 1.0]))
    found = repaired(symmetries(model, (x,)).program, half(one, other), [one, other], [(x,)])
    assert found["0.weight"].tolist() == [pytest.approx([0.5 * 1.41421] * 2, abs=1e-5)]
    assert found["0.bias"].tolist() == pytest.approx([0.0])
    assert torch.equal(found["2.weight"], given["2.weight"]) and torch.equal(found["2.bias"], given["2.bias"])


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 6, 3)
        self.third, self.head = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x).relu()).relu()
        return self.head(self.third(x.mean((2, 3))).relu())


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_afterwards_every_hidden_layer_has_mixed_means_and_spreads(share: float):
    torch.manual_seed(0)
    models = [Convolutional().eval() for _ in range(3)]
    x = torch.randn(40, 1, 7, 7)
    a, b = (dict(model.state_dict()) for model in models[:2])
    merged = {name: (1 - share) * a[name] + share * b[name] for name in a}
    found = repaired(
        symmetries(models[0], (x[:10],)).program,
        merged,
        [a, b],
        [(each,) for each in x.split(10)],
        shares=[1 - share, share],
    )
    models[2].load_state_dict(found)
    for name in ("first", "second", "third"):
        one, other, now = (hooked(model, getattr(model, name), x) for model in models)
        for of in (lambda values: values.mean(1), lambda values: values.std(1, unbiased=False)):
            torch.testing.assert_close(of(now), (1 - share) * of(one) + share * of(other), rtol=1e-4, atol=1e-5)
    assert torch.equal(found["head.weight"], merged["head.weight"])


def test_a_network_with_itself_stays():
    torch.manual_seed(0)
    model, x = Convolutional().eval(), torch.randn(8, 1, 7, 7)
    state = dict(model.state_dict())
    found = repaired(symmetries(model, (x,)).program, state, [state, state], [(x,)])
    for name, value in state.items():
        torch.testing.assert_close(found[name], value)


def normed(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    ).append(nn.Linear(4 * 9, 2))
    model(torch.randn(50, 1, 7, 7))
    for norm in (model[1], model[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return model.eval()


def test_batch_norms_are_measured_anew_as_torch_would():
    models, x = [normed(0), normed(1), normed(2)], torch.randn(30, 1, 7, 7)
    a, b = (dict(model.state_dict()) for model in models[:2])
    program = symmetries(models[0], (x[:10],)).program
    assert hidden_layers(program) == []
    fixed = repaired(program, half(a, b), [a, b], [(each,) for each in x.split(10)])
    models[2].load_state_dict(half(a, b))
    for norm in (models[2][1], models[2][4]):
        norm.reset_running_stats()
        norm.momentum = None
    models[2].train()(x)  # divides by n what is kept divided by n - 1, which the next norm sees
    for name, value in models[2].state_dict().items():
        if "tracked" not in name:
            torch.testing.assert_close(fixed[name], value, rtol=2e-3, atol=1e-4)


def test_units_that_never_change_and_layers_without_bias():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)).eval()
    x = torch.randn(20, 2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["0.weight"][0], state["2.weight"] = 0.0, torch.eye(2)
    target = {
        "0.weight": Statistics(torch.tensor([3.0, 3.0]), torch.tensor([2.0, 2.0]), 20),
        "2.weight": Statistics(torch.zeros(2), torch.tensor([5.0, 5.0]), 20),
    }
    program = symmetries(model, (x,)).program
    fixed = corrected(program, state, target, [(x,)])
    now = statistics(program, fixed, [(x,)])
    torch.testing.assert_close(now["0.weight"].mean, torch.tensor([3.0, 3.0]).double())
    assert now["0.weight"].std[1] == pytest.approx(2) and torch.equal(fixed["0.weight"][0], state["0.weight"][0])
    assert now["2.weight"].std[1] == pytest.approx(5) and all(value.isfinite().all() for value in fixed.values())


def test_other_numbers_of_shares_are_told():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).eval()
    program = symmetries(model, (torch.zeros(2, 2),)).program
    with pytest.raises(InputError, match="1 parents and 2 shares"):
        repaired(program, model.state_dict(), [model.state_dict()], [], shares=[0.5, 0.5])
