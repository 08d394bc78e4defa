from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.families_test import family
from ligate.align.maps import Group, Place, applied, reordered, units
from ligate.align.matching import weight_matching
from ligate.align.members import random_member
from ligate.align.solving import assignment
from ligate.core.errors import InputError


def network(seed: int, width: int = 12) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def test_the_worked_example_of_three_hidden_units():
    """A: W1 = [[1,0],[0,1],[1,1]], W2 = [1,2,3]; B is A with its units in the order 2, 0, 1."""
    one = {"w": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), "v": torch.tensor([[1.0, 2.0, 3.0]])}
    group = Group("hidden", 3, (Place("w", 0, (3,), 0), Place("v", 1, (3,), 0)))
    other = applied(one, [reordered(group, torch.tensor([2, 0, 1]))])
    scores = sum(units(one[place.tensor], place) @ units(other[place.tensor], place).mT for place in group.places)
    assert scores[0].tolist() == [[4, 2, 2], [7, 2, 5], [11, 4, 7]]
    found = weight_matching(one, other, [group])
    assert found.orders["hidden"].tolist() == [1, 2, 0]
    assert all(torch.equal(found.applied(other, [group])[name], one[name]) for name in one)


def test_the_assignment_is_the_best_of_all():
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    best = max(sum(float(scores[i, j]) for i, j in enumerate(p)) for p in itertools.permutations(range(6)))
    assert float(scores[torch.arange(6), assignment(scores)].sum()) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_a_permuted_copy_comes_back_exactly(seed):
    model = network(seed, 32)
    groups = symmetries(model, (torch.zeros(1, 5),)).groups
    given = {name: value.detach() for name, value in model.state_dict().items()}
    hidden = given
    for group in groups:
        hidden = applied(hidden, [reordered(group, torch.randperm(group.size))])
    found = weight_matching(given, hidden, groups, seed=seed).applied(hidden, groups)
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_matching_never_makes_it_worse_and_keeps_the_function():
    one, other = network(0), network(1)
    groups = symmetries(one, (torch.zeros(1, 5),)).groups
    a, b = (dict(model.state_dict()) for model in (one, other))
    found = weight_matching(a, b, groups)
    moved = found.applied(b, groups)
    assert found.score >= sum(float((a[name] * b[name]).sum()) for name in a)
    x = torch.randn(7, 5)
    with torch.no_grad():
        said = other(x)
        other.load_state_dict(moved)
        torch.testing.assert_close(other(x), said)


def test_the_same_seed_gives_the_same_matching():
    one, other = network(0), network(1)
    groups = symmetries(one, (torch.zeros(1, 5),)).groups
    found = [weight_matching(one.state_dict(), other.state_dict(), groups, seed=3) for _ in range(2)]
    assert all(torch.equal(found[0].orders[name], found[1].orders[name]) for name in found[0].orders)


def test_other_widths_are_told():
    one, other = network(0, 12), network(1, 10)
    groups = symmetries(one, (torch.zeros(1, 5),)).groups
    with pytest.raises(InputError, match=r"\[12\] in one model and \[10\] in the other"):
        weight_matching(one.state_dict(), other.state_dict(), groups)


def moved(model: nn.Module, inputs, options=None, seed: int = 3):
    """A model in float64 with its groups, its weights, and these after a random member of every group."""
    model = model.double().eval()
    found = symmetries(model, tuple(each.double() if each.is_floating_point() else each for each in inputs), options)
    draw = torch.Generator().manual_seed(seed)
    a = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name in [name for name, value in a.items() if value.ndim == 1]:
        a[name] += 0.2 * torch.rand(a[name].shape, generator=draw, dtype=a[name].dtype)  # or all are alike
    b = a
    for group in found.groups:
        b = applied(b, [random_member(group, b, draw)])
    return found.groups, a, b


def furthest(one, other) -> float:
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_a_transformer_that_was_permuted_and_turned_comes_back(kind):
    groups, a, b = moved(*family(kind))
    found = weight_matching(a, b, groups, starts=1)
    assert furthest(a, b) > 0.1
    assert furthest(a, found.applied(b, groups)) < 1e-13


def test_a_convolutional_network_comes_back():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.outer = (
                nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 16), (16, 24), (24, 16))
            )
            self.norm, self.head = nn.BatchNorm2d(24), nn.Linear(16, 5)

        def forward(self, x):
            x = self.first(x).relu()
            x = x + self.outer(self.norm(self.inner(x)).relu())
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    groups, a, b = moved(Residual(), (torch.zeros(1, 3, 4, 4),))
    back = weight_matching(a, b, groups, starts=1).applied(b, groups)
    assert furthest(a, b) > 0.1
    assert all(torch.equal(a[name], back[name]) for name in a)


def test_what_comes_back_is_noisy_if_what_went_was():
    """Fine-tuned after it was moved: as near as the same noise without the moves."""
    groups, a, b = moved(*family("llama"))
    draw = torch.Generator().manual_seed(8)
    noisy = {name: value + 1e-3 * torch.randn(value.shape, generator=draw).double() for name, value in b.items()}
    back = weight_matching(a, noisy, groups, starts=1).applied(noisy, groups)
    off = sum(float((value - back[name]).square().sum()) for name, value in a.items() if value.ndim > 1)
    added = sum(float((value - noisy[name]).square().sum()) for name, value in b.items() if value.ndim > 1)
    assert off < 1.5 * added


def test_a_second_look_finds_nothing_to_move():
    groups, a, b = moved(*family("vit"))
    back = weight_matching(a, b, groups, starts=1).applied(b, groups)
    again = weight_matching(a, back, groups, starts=1)
    assert furthest(back, again.applied(back, groups)) < 1e-13


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_fine_tuned_network_comes_to_the_same_place_moved_or_not(kind):
    groups, a, _ = moved(*family(kind))
    draw = torch.Generator().manual_seed(8)
    tuned = {name: value + 1e-2 * torch.randn(value.shape, generator=draw).double() for name, value in a.items()}
    turned = tuned
    for group in groups:
        turned = applied(turned, [random_member(group, turned, draw)])
    one, other = (weight_matching(a, each, groups, starts=1).applied(each, groups) for each in (tuned, turned))
    assert furthest(tuned, turned) > 0.1
    assert furthest(one, other) < 1e-5


@pytest.mark.parametrize("kind", ["llama", "vit"])
def test_a_descent_goes_on_from_where_it_is_told_to(kind):
    groups, a, b = moved(*family(kind))
    found = weight_matching(a, b, groups, starts=1)
    again = weight_matching(a, b, groups, starts=1, start=found, sweeps=0)
    assert furthest(again.applied(b, groups), found.applied(b, groups)) < 1e-13
    assert again.score == pytest.approx(found.score, rel=1e-12)
