from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import applied
from ligate.align.matching import weight_matching
from ligate.align.members import random_member
from ligate.align.repair import repaired
from ligate.align.running import computed
from ligate.align.straight_through import Search, agreement, straight_through
from ligate.core.errors import InputError


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes, the quadrants of two numbers, hidden in six."""
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def trained(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    adam, (x, y) = torch.optim.Adam(model.parameters(), lr=1e-2), data()
    for _ in range(100):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items()}


def lost(found, a, b, batches, repair: bool) -> float:
    """Of the average, as straight-through matching should have counted it."""
    merged = {name: (value + b[name]) / 2 for name, value in a.items()}
    if repair:
        merged = repaired(found.program, merged, [a, b], batches)
    said = [torch.cat(computed(found.program, each, batches)) for each in (merged, a, b)]
    return float(agreement(*said))


@pytest.mark.parametrize("repair", [True, False])
def test_the_average_says_more_nearly_what_both_say_than_after_weight_matching(repair: bool):
    one, other = trained(0), trained(1)
    a, b, batches = state(one), state(other), [(data()[0],)]
    found = symmetries(one, batches[0])
    start = weight_matching(a, b, found.groups)
    best = straight_through(found, a, b, batches, start=start, search=Search(40, 0.1, repair))
    before, after = (lost(found, a, each.applied(b, found.groups), batches, repair) for each in (start, best))
    assert after == pytest.approx(-best.score, rel=1e-4)
    assert after < before - 0.01
    with torch.no_grad():
        moved = computed(found.program, best.applied(b, found.groups), batches)[0]
        torch.testing.assert_close(moved, other(batches[0][0]), rtol=1e-4, atol=1e-4)


def test_what_was_found_already_is_kept_and_the_same_seed_finds_the_same():
    one, other = trained(0), trained(1)
    a, b, batches = state(one), state(other), [(each,) for each in data()[0].split(100)]
    found = symmetries(one, batches[0])
    short = Search(1)
    first = straight_through(found, a, b, batches, search=short)
    nothing = straight_through(found, a, b, batches, start=first, search=short)
    assert all(torch.equal(nothing.orders[name], first.orders[name]) for name in first.orders)
    again = [straight_through(found, a, b, batches, search=Search(5, 0.2), seed=3) for _ in range(2)]
    assert again[0].score == again[1].score
    assert all(torch.equal(again[0].orders[name], again[1].orders[name]) for name in first.orders)


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start, self.norm = nn.Linear(6, 8), nn.RMSNorm(8)
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8, bias=False) for _ in range(4))
        nn.init.uniform_(self.norm.weight, 0.5, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        q, k, v = (
            layer(self.norm(x)).unflatten(2, (2, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


def test_rotations_and_stretched_heads_are_told_for_the_networks_as_they_were():
    """A moved copy: there is nothing to lose, and what is found brings back the original."""
    torch.manual_seed(0)
    model, x = Attentive().double().eval(), torch.randn(20, 5, 6, dtype=torch.float64)
    found = symmetries(model, (x,))
    a = b = state(model)
    for group in found.groups:
        b = applied(b, [random_member(group, b, torch.Generator().manual_seed(1))])
    assert {group.kind for group in found.groups} == {"permutation", "orthogonal", "invertible"}
    back = straight_through(found, a, b, [(x,)], search=Search(2)).applied(b, found.groups)
    assert max(float((b[name] - a[name]).abs().max()) for name in a) > 0.1
    for name, value in a.items():
        torch.testing.assert_close(back[name], value, rtol=1e-7, atol=1e-7)


def test_no_inputs_are_told():
    model = trained(0)
    with pytest.raises(InputError, match="there are no inputs"):
        straight_through(symmetries(model, (torch.zeros(2, 6),)), state(model), state(model), [])
