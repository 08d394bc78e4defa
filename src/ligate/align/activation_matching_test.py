from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ligate.align.activation_matching import activation_matching, matched
from ligate.align.axes.graph import symmetries
from ligate.align.families_test import family
from ligate.align.maps import Group, Place, applied
from ligate.align.members import random_member
from ligate.align.running import computed


class Block(nn.Module):
    """Attention of three heads, then a gated MLP, with norms in front of them that let the stream turn."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(5, 12)
        self.query, self.key, self.value, self.out = (nn.Linear(12, 12, bias=False) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(12, 20), nn.Linear(12, 20), nn.Linear(20, 12)
        self.norms = nn.ModuleList(nn.RMSNorm(12, eps=1e-6) for _ in range(3))
        for norm in self.norms:
            nn.init.uniform_(norm.weight, 0.5, 2)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        y = self.norms[0](x)
        q, k, v = (layer(y).unflatten(2, (3, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        x = x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))
        return self.head(self.norms[2](x).mean(1))


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 9, 3)
        self.head = nn.Linear(9 * 9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.norm(self.first(x)).relu()).tanh().flatten(1))


NETWORKS = {"block": (Block, (30, 7, 5)), "convolutional": (Convolutional, (60, 1, 7, 7))}


@pytest.mark.parametrize(("at", "by"), [("read", "products"), ("written", "covariance"), ("all", "correlation")])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_was_permuted_and_turned_comes_back(kind: str, at, by):
    torch.manual_seed(0)
    build, shape = NETWORKS[kind]
    model, x = build().double().eval(), torch.randn(*shape, dtype=torch.float64)
    found = symmetries(model, (x,))
    given = {name: value.detach() for name, value in model.state_dict().items()}
    draw, hidden = torch.Generator().manual_seed(1), given
    for group in found.groups:
        hidden = applied(hidden, [random_member(group, hidden, draw)])
    assert max(float((hidden[name] - given[name]).abs().max()) for name in given) > 0.1
    back = activation_matching(found, given, hidden, [(x,)], at=at, by=by).applied(hidden, found.groups)
    for name, value in given.items():
        torch.testing.assert_close(back[name], value, rtol=1e-9, atol=1e-9)


def test_grouped_heads_under_rotary_positions_come_back():
    model, inputs, options = family("llama")
    found = symmetries(model.double().eval(), inputs, options)
    given = {name: value.detach() for name, value in model.state_dict().items()}
    draw, hidden = torch.Generator().manual_seed(1), given
    for group in found.groups:
        hidden = applied(hidden, [random_member(group, hidden, draw)])
    texts = [(torch.randint(32, inputs[0].shape, generator=draw),) for _ in range(30)]
    back = activation_matching(found, given, hidden, texts).applied(hidden, found.groups)
    assert max(float((hidden[name] - given[name]).abs().max()) for name in given) > 0.1
    assert max(float((back[name] - given[name]).abs().max()) for name in given) < 1e-6  # norms and softmax: float32


def test_it_keeps_what_another_network_says_and_does_no_worse_than_any_permutation():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2)).double().eval() for _ in range(2)]
    x = torch.randn(50, 5, dtype=torch.float64)
    a, b = (dict(model.state_dict()) for model in models)
    found = symmetries(models[0], (x,))
    (group,) = found.groups

    def permuted(order: torch.Tensor) -> float:
        return float((models[0][:2](x) * models[1][:2](x)[:, order]).sum())

    # `signed` is what tanh allows: of plain permutations the best is no better
    found_it = activation_matching(found, a, b, [(x,)])
    moved = found_it.applied(b, found.groups)
    with torch.no_grad():
        torch.testing.assert_close(computed(found.program, moved, [(x,)])[0], models[1](x))
        norms = models[0][:2](x).norm() * models[1][:2](x).norm()
        best = max(permuted(torch.tensor(order)) for order in itertools.permutations(range(5)))
        assert group.kind == "signed" and found_it.score * float(norms) >= best


def test_heads_are_exchanged_for_what_the_best_map_inside_of_them_comes_to():
    """Head 1 of A is head 0 of B turned by a right angle, which no order of its units shows."""
    heads = Group("heads", 2, (Place("w", 0, (2, 2), 0),))
    inside = Group("inside", 2, (Place("w", 0, (2, 2), 1, over=((0, 0),)),), "orthogonal", 2)
    turn, nothing = torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.eye(2) / 4
    table = torch.stack([torch.stack([nothing, torch.eye(2)]), torch.stack([turn, nothing])])
    moves, score = matched([inside, heads], {"heads": torch.eye(2)[None, None], "inside": table})
    assert moves["heads"].tolist() == [1, 0]
    torch.testing.assert_close(moves["inside"], torch.stack([torch.eye(2), turn]))
    assert score == 0 + 2 + 2


def test_a_group_that_is_not_seen_stays():
    group = Group("hidden", 3, ())
    moves, score = matched([group], {})
    assert moves["hidden"].tolist() == [0, 1, 2] and score == 0
