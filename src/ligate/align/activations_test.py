from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.activations import crossed, looked_at, recorded, scores
from ligate.align.axes.graph import symmetries
from ligate.core.errors import InputError


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)).eval()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(12, 12) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).unflatten(2, (3, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_what_is_recorded_is_what_the_layers_compute():
    model, x = network(0), torch.randn(6, 5)
    found = symmetries(model, (x[:3],))
    with torch.no_grad():
        before = model[0](x)
    batches = [(each,) for each in x.split(3)]
    (name,) = recorded(found, model.state_dict(), batches)
    assert torch.equal(recorded(found, model.state_dict(), batches)[name], before.relu())
    assert torch.equal(recorded(found, model.state_dict(), batches, at="written")[name], before)
    every = recorded(found, model.state_dict(), batches[:1], at="all")[name]
    assert torch.equal(every, torch.cat([before[:3], before[:3].relu()]))


def test_heads_are_copies_of_what_lies_inside_of_them():
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(2, 5, 12)
    found = symmetries(model, (x,))
    inside = next(group for group in found.groups if group.copies == 3 and "value" in group.name)
    heads = next(group for group in found.groups if group.copies == 1)
    values = recorded(found, model.state_dict(), [(x,)], at="written")
    with torch.no_grad():
        torch.testing.assert_close(values[inside.name], model.value(x).reshape(10, 3, 4))
    assert values[heads.name].shape == (3 * 10 * 4, 3)


def test_sums_over_batches_are_those_over_all_and_agree_with_numpy():
    one, other, x = network(0), network(1), torch.randn(40, 5)
    found = symmetries(one, (x[:10],))
    batches = [(each,) for each in x.split(10)]
    (values,) = crossed(found, one.state_dict(), other.state_dict(), batches).values()
    with torch.no_grad():
        y, z = (model[0](x).relu().double() for model in (one, other))
    said = {by: scores(values, by)[0, 0] for by in ("products", "covariance", "correlation")}
    torch.testing.assert_close(said["products"], y.T @ z / (y.norm() * z.norm()))
    together = torch.cat([y.T, z.T])
    between = torch.cov(together, correction=0)
    scale = (between.diagonal()[:7].sum() * between.diagonal()[7:].sum()).sqrt()
    torch.testing.assert_close(said["covariance"], between[:7, 7:] / scale)
    torch.testing.assert_close(said["correlation"], torch.corrcoef(together)[:7, 7:])


def test_a_unit_that_never_changes_goes_together_with_none():
    model, x = network(0), torch.randn(10, 5)
    found = symmetries(model, (x,))
    state = {**model.state_dict(), "0.weight": model[0].weight.detach().clone(), "0.bias": torch.full((7,), 3.0)}
    state["0.weight"][2] = 0
    (values,) = crossed(found, state, state, [(x,)]).values()
    table = scores(values, "correlation")[0, 0]
    assert table.isfinite().all() and not table[2].any() and not table[:, 2].any()
    torch.testing.assert_close(table[0, 0], torch.tensor(1.0).double())


def test_units_that_nothing_wanted_shows_are_seen_on_all_of_their_values():
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.scale = nn.Linear(2, 3), nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.first(x).relu() * self.scale).sum(1)

    found = symmetries(Doubled().eval(), (torch.zeros(4, 2),))
    (seen,) = looked_at(found, "read").values()
    assert [each.node for each in seen] == ["linear", "relu", "mul"]


def test_no_inputs_are_told():
    model = network(0)
    with pytest.raises(InputError, match="there are no inputs"):
        crossed(symmetries(model, (torch.zeros(2, 5),)), model.state_dict(), model.state_dict(), [])
