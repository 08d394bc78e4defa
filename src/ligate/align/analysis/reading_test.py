from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ligate.align.analysis.reading import reads, recorded
from ligate.core.errors import InputError


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x).relu()).tanh())


class Cnn(nn.Module):
    """Two convolutions, then what is read is the mean over the places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


class Block(nn.Module):
    """Tokens; two readers of one norm; a flattened product, as GPT-2 has it; positions that no input goes into."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(10, 6), nn.Embedding(4, 6)
        self.norm, self.query, self.key = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))
        self.of_places = nn.Linear(6, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.of_places(self.places(torch.arange(4)))
        y = self.norm(x)
        mixed = (self.query(y) * self.key(y)).reshape(-1, 8)
        return torch.addmm(self.bias, mixed, self.out).reshape(x.shape)


def _program(model: nn.Module, *inputs: Tensor):
    return torch.export.export(model.eval(), inputs, strict=False)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def test_a_layer_reads_what_comes_out_of_the_activation_before_it():
    model, x = Mlp(), torch.randn(6, 3)
    found = recorded(_program(model, x[:3]), _state(model), [[x[:3]], [x[3:]]])
    assert list(found) == ["second", "third"]
    first = model.first(x).relu()
    torch.testing.assert_close(found["second"].values, first.detach())
    torch.testing.assert_close(found["third"].values, model.second(first).tanh().detach())
    assert found["second"].rows == 1


def test_weights_are_those_given_not_those_traced():
    model, other, x = Mlp(), Mlp(), torch.randn(3, 3)
    found = recorded(_program(model, x), _state(other), [[x]])
    torch.testing.assert_close(found["second"].values, other.first(x).relu().detach())


def test_of_a_convolution_every_place_is_a_sample():
    model, x = Cnn(), torch.randn(3, 1, 6, 6)
    found = recorded(_program(model, x), _state(model), [[x]])
    first = model.first(x).relu().detach()
    assert found["second"].rows == 16
    torch.testing.assert_close(found["second"].values, first.permute(0, 2, 3, 1).reshape(48, 4))
    assert found["head"].values.shape == (3, 6)


def test_of_many_places_some_are_chosen_the_same_in_every_input():
    model, x = Cnn(), torch.randn(3, 1, 6, 6)
    found = recorded(_program(model, x), _state(model), [[x]], most=3 * 4)
    first = model.first(x).relu().detach().permute(0, 2, 3, 1).reshape(3, 16, 4)
    assert found["second"].rows == 4
    torch.testing.assert_close(found["second"].values, first[:, [0, 5, 10, 15]].flatten(0, 1))


def test_values_are_told_once_and_only_where_inputs_and_weights_go_in():
    model, tokens = Block(), torch.randint(10, (2, 4))
    program = _program(model, tokens)
    assert [read.name for read in reads(program)] == ["query", "out"]
    found = recorded(program, _state(model), [[tokens]])
    assert (found["query"].values.shape, found["query"].rows) == ((8, 6), 4)
    assert (found["out"].values.shape, found["out"].rows) == ((8, 8), 4)


def test_without_inputs_there_is_nothing_to_record():
    model, x = Mlp(), torch.randn(3, 3)
    with pytest.raises(InputError, match="no inputs"):
        recorded(_program(model, x), _state(model), [])
    with pytest.raises(InputError, match="shape"):
        recorded(_program(model, x), _state(model), [[torch.randn(4, 3)]])
