from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.core.errors import InputError
from ligate.learn.forgetting import Forgetting, right
from ligate.learn.gradient import Task, learn
from ligate.learn.objectives import Batch, CrossEntropy
from ligate.learn.parametrisations import Coefficients


class Lines(nn.Module):
    """Logits (w x, 0) of numbers x: the first class where w x > 0."""

    def __init__(self) -> None:
        super().__init__()
        self.known = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x @ self.known, torch.zeros(len(x))], 1)


X = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]])
RIGHT = torch.tensor([0, 0, 1, 1])


def tasks(module: nn.Module, shared: bool) -> list[Task]:
    """One task reads the first number; the other the second one, or (shared) the first one too."""
    other = Batch(X if shared else X.roll(1, 1), RIGHT)
    return [Task("gone", module, [Batch(X, RIGHT)], weight=-1.0), Task("stays", module, [other])]


BASE, EXPERT = {"known": torch.ones(2)}, {"known": torch.tensor([2.0, 1.0])}  # it knows more of the first number
SOLVER = Forgetting(60, 0.1, look=2, patience=99)


def test_what_is_to_be_forgotten_is_taken_away_and_the_rest_stays():
    module = Lines()
    found = learn(
        module, BASE, [EXPERT], tasks(module, shared=False), Coefficients("task", 0.0), CrossEntropy(), SOLVER
    )
    assert found.numbers[""].item() < -1
    gone, stays = tasks(module, shared=False)
    assert right(gone) == 0 and right(stays) == 1
    assert found.curve[0].stopping == 1 and found.best.stopping == 0  # shares of right answers


def test_it_ends_where_what_is_to_stay_falls_below_its_floor():
    module = Lines()
    asked = tasks(module, shared=True)
    found = learn(module, BASE, [EXPERT], [asked[0], asked[1]._replace(weight=0.1)], Coefficients("task", 0.0),
                  CrossEntropy(), SOLVER)  # fmt: skip
    assert "fell below 0.95" in found.ended
    assert right(asked[1]) == 1  # the numbers from before that are kept


def test_something_has_to_go_and_something_to_stay():
    module = Lines()
    with pytest.raises(InputError, match="negative weight"):
        learn(module, BASE, [EXPERT], tasks(module, False)[1:], Coefficients("task", 0.0), CrossEntropy(), SOLVER)
