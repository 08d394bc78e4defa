"""Against values worked out by hand, planted truths, and networks whose function must not change."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from ligate.align.activations import recorded
from ligate.align.axes.graph import symmetries
from ligate.align.maps import Group, Place, applied, reordered
from ligate.align.transport import How, moved, ot_fusion, partners, shares
from ligate.core.errors import InputError

pytest.importorskip("ot")

State = dict[str, torch.Tensor]


class Net(NamedTuple):
    model: nn.Module
    state: State
    groups: tuple[Group, ...]


def mlp(seed: int, *widths: int) -> Net:
    torch.manual_seed(seed)
    sizes = [5, *widths]
    layers = [part for one, two in zip(sizes, widths, strict=False) for part in (nn.Linear(one, two), nn.ReLU())]
    return traced(nn.Sequential(*layers, nn.Linear(sizes[-1], 3)), torch.zeros(2, 5))


class Attentive(nn.Module):
    """Heads, a residual stream with layer norms, an MLP; the temperature does not follow the size of the heads."""

    def __init__(self, width: int, heads: int, size: int, hidden: int) -> None:
        super().__init__()
        self.split, inner = (heads, size), heads * size
        self.start, self.norm, self.last = nn.Linear(6, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.up, self.down, self.end = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.start(x)
        y = self.norm(x)
        q, k, v = (part(y).unflatten(-1, self.split).transpose(1, 2) for part in (self.query, self.key, self.value))
        seen = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return self.end(self.last(x + self.down(nn.functional.gelu(self.up(x)))))


SEQUENCE = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def traced(model: nn.Module, x: torch.Tensor) -> Net:
    """With weights that are all random: norms and biases, too."""
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    model = model.double()
    return Net(model, {n: v.detach() for n, v in model.state_dict().items()}, symmetries(model, (x.double(),)).groups)


def attentive(seed: int, *sizes: int) -> Net:
    torch.manual_seed(seed)
    return traced(Attentive(*sizes), SEQUENCE)


def said(net: Net, state: State, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.func.functional_call(net.model, state, (x,))


def doubled(small: Net, big: Net, seed: int) -> State:
    """The small network with every unit twice, in random order, in the shapes of the big one; its function."""
    generator = torch.Generator().manual_seed(seed)
    couplings = []
    for one, two in zip(small.groups, big.groups, strict=True):
        owner = torch.arange(two.size)[torch.randperm(two.size, generator=generator)] % one.size
        couplings.append(nn.functional.one_hot(owner).T.double())
    return applied(small.state, list(resized(small, big, couplings)))


def resized(small: Net, big: Net, couplings):
    """Maps by hand: sizes of factors that earlier maps have changed are those of the big network."""
    done = set()
    for one, two, coupling in zip(small.groups, big.groups, couplings, strict=True):
        places = tuple(
            x._replace(
                sizes=tuple(
                    n if (x.tensor, x.dim, f) in done else m
                    for f, (m, n) in enumerate(zip(x.sizes, y.sizes, strict=True))
                )
            )
            for x, y in zip(one.places, two.places, strict=True)
        )
        yield moved(one._replace(places=places, copies=two.copies), coupling)
        done |= {(place.tensor, place.dim, place.factor) for place in one.places}


def hidden(size: int) -> Group:
    return Group("hidden", size, (Place("w", 0, (size,), 0), Place("v", 1, (size,), 0, "reads")))


PAIRS = {"w": torch.tensor([[1.0], [3.0], [1.0], [3.0]]), "v": torch.tensor([[0.5, -1.0, 0.5, -1.0]])}


def test_the_worked_example_of_three_units_and_two():
    coupling = torch.tensor([[1 / 3, 0], [0, 1 / 3], [1 / 6, 1 / 6]])
    write, read = shares(coupling)
    rows = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    torch.testing.assert_close(write @ rows, torch.tensor([[1, 1 / 3], [1 / 3, 1]]))
    torch.testing.assert_close(read, torch.tensor([[1, 0, 0.5], [0, 1, 0.5]]))


def test_four_units_that_are_two_pairs_become_two_and_the_paper_halves_what_reads_them():
    """[.5, -1, .5, -1] read units that are 1, 3, 1, 3 times the input: together 1 and -2."""
    a = {"w": torch.tensor([[1.1], [2.9]]), "v": torch.tensor([[1.0, -2.0]])}
    found = ot_fusion(a, PAIRS, [hidden(2)], [hidden(4)])
    assert applied(PAIRS, found.maps)["w"].tolist() == [[1.0], [3.0]]
    assert applied(PAIRS, found.maps)["v"].tolist() == [[1.0, -2.0]]
    papers = ot_fusion(a, PAIRS, [hidden(2)], [hidden(4)], how=How(readers="means"))
    assert applied(PAIRS, papers.maps)["v"].tolist() == [[0.5, -1.0]]


def test_costs_are_mean_distances():
    a = {"w": torch.tensor([[1.0], [3.0]]), "v": torch.tensor([[0.5, -1.0]])}
    far = {"w": PAIRS["w"] + 2, "v": PAIRS["v"]}
    found = ot_fusion(a, far, [hidden(2)], [hidden(4)], how=How(metric="squared"))
    assert found.costs["hidden"] == pytest.approx(4)
    torch.testing.assert_close(found.couplings["hidden"], torch.eye(2).double().repeat(2, 1) / 4)


@pytest.mark.parametrize("solver", ["exact", "undivided"])
def test_a_permuted_copy_of_equal_widths_comes_back_exactly(solver):
    for net, x in ((mlp(0, 12, 8), torch.randn(7, 5).double()), (attentive(0, 8, 3, 4, 10), SEQUENCE)):
        other = net.state
        for group in net.groups:
            other = applied(other, [reordered(group, torch.randperm(group.size))])
        torch.testing.assert_close(said(net, other, x), said(net, net.state, x))
        found = ot_fusion(net.state, other, net.groups, net.groups, how=How(solver=solver))
        back = applied(other, found.maps)
        assert all(torch.equal(back[name], value) for name, value in net.state.items())


@pytest.mark.parametrize("how", [How(), How(solver="exact"), How(solver="exact", metric="euclidean", sweeps=1)])
def test_a_network_whose_units_are_all_there_twice_is_brought_back_to_half_its_widths(how):
    for small, big, x in (
        (mlp(0, 6, 4), mlp(1, 12, 8), torch.randn(7, 5).double()),
        (attentive(0, 6, 2, 3, 5), attentive(1, 12, 4, 6, 10), SEQUENCE),
    ):
        wide = doubled(small, big, 2)
        assert {name: value.shape for name, value in wide.items()} == {n: v.shape for n, v in big.state.items()}
        torch.testing.assert_close(said(big, wide, x), said(small, small.state, x))
        found = ot_fusion(small.state, wide, small.groups, big.groups, how=how)
        back = applied(wide, found.maps)
        assert said(small, back, x).sub(said(small, small.state, x)).abs().max() < 1e-10
        assert all(torch.allclose(back[name], value, atol=1e-10) for name, value in small.state.items())


def test_widening_without_dividing_units_keeps_the_function():
    small, big = mlp(0, 6, 4), mlp(1, 11, 7)
    found = ot_fusion(big.state, small.state, big.groups, small.groups, how=How(solver="undivided"))
    wide, x = applied(small.state, found.maps), torch.randn(7, 5).double()
    assert {name: value.shape for name, value in wide.items()} == {n: v.shape for n, v in big.state.items()}
    torch.testing.assert_close(said(big, wide, x), said(small, small.state, x), rtol=0, atol=1e-12)


def test_units_are_coupled_by_what_they_did():
    net = mlp(0, 6)
    (group,) = net.groups
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    other = {name: torch.zeros_like(value) for name, value in net.state.items()}  # weights say nothing
    acts = torch.randn(20, 6)
    seen = ({group.name: acts}, {group.name: acts[:, order]})
    found = ot_fusion(net.state, other, net.groups, net.groups, seen=seen)
    assert found.maps[0].write.tolist() == order.argsort().tolist()
    with pytest.raises(InputError, match="no activations of the second network"):
        ot_fusion(net.state, other, net.groups, net.groups, seen=({group.name: acts}, {}))
    with pytest.raises(InputError, match="20 samples of the first network and 19 of the second"):
        ot_fusion(net.state, other, net.groups, net.groups, seen=({group.name: acts}, {group.name: acts[1:]}))


def test_heads_are_coupled_by_what_was_seen_inside_of_them():
    net = attentive(0, 6, 3, 4, 5)
    generator = torch.Generator().manual_seed(1)
    seen_a = {group.name: torch.randn(30, group.copies * group.size, generator=generator) for group in net.groups}
    seen_a = {
        g.name: v.unflatten(1, (g.copies, g.size)).squeeze(1) for g, v in zip(net.groups, seen_a.values(), strict=True)
    }
    (heads,) = (group for group in net.groups if group.size == 3)
    orders = {group.name: torch.randperm(group.size, generator=generator) for group in net.groups}
    seen_b = {name: value[..., orders[name]] for name, value in seen_a.items()}
    seen_b = {name: value[:, orders[heads.name]] if value.ndim == 3 else value for name, value in seen_b.items()}
    del seen_a[heads.name], seen_b[heads.name]
    found = ot_fusion(net.state, net.state, net.groups, net.groups, seen=(seen_a, seen_b))
    for each in found.maps:
        assert (each.write == orders[each.group.name].argsort()).all()


def test_recorded_activations_bring_a_permuted_copy_back():
    net = attentive(0, 8, 3, 4, 10)
    found = symmetries(net.model.eval(), (SEQUENCE,))
    other = net.state
    for group in net.groups:
        other = applied(other, [reordered(group, torch.randperm(group.size))])
    seen = recorded(found, net.state, [(SEQUENCE,)]), recorded(found, other, [(SEQUENCE,)])
    back = applied(other, ot_fusion(net.state, other, net.groups, net.groups, seen=seen).maps)
    assert all(torch.equal(back[name], value) for name, value in net.state.items())


def test_sinkhorn_mixes_units_and_keeps_what_all_of_them_write_together():
    one, other = mlp(0, 6, 4), mlp(1, 9, 7)
    found = ot_fusion(one.state, other.state, one.groups, other.groups, how=How(solver="sinkhorn", entropy=0.1))
    back = applied(other.state, found.maps)
    assert {name: value.shape for name, value in back.items()} == {n: v.shape for n, v in one.state.items()}
    for each in found.maps:
        torch.testing.assert_close(each.write.sum(1), torch.ones(each.write.shape[0]).double())
        torch.testing.assert_close(each.read.sum(0), torch.ones(each.read.shape[1]).double())
    torch.testing.assert_close(back["4.weight"].sum(1), other.state["4.weight"].sum(1))


def test_more_sweeps_bring_networks_closer():
    one, other = mlp(0, 24, 24), mlp(1, 20, 20)
    costs = [
        sum(ot_fusion(one.state, other.state, one.groups, other.groups, how=How(sweeps=n)).costs.values())
        for n in (2, 6)
    ]
    assert costs[1] < costs[0]


def test_depths_that_differ_are_told_with_the_first_tensor():
    with pytest.raises(InputError, match=r"tensor 4.weight: is only in the first network"):
        ot_fusion(mlp(0, 6, 4).state, mlp(1, 6).state, mlp(0, 6, 4).groups, mlp(1, 6).groups)


def test_inputs_of_other_sizes_are_told():
    one, other = mlp(0, 6), mlp(1, 7)
    odd = {**other.state, "0.weight": torch.zeros(7, 9).double()}
    with pytest.raises(InputError, match=r"tensor 0.weight: has the shape \[6, 5\] in one network and \[7, 9\]"):
        ot_fusion(one.state, odd, one.groups, other.groups)


def test_groups_without_partners_are_told():
    one, other = mlp(0, 6, 4), mlp(1, 7, 5)
    with pytest.raises(InputError, match="of the first network: has no partner"):
        partners(one.groups, other.groups[:1])
    with pytest.raises(InputError, match="of the second network: has no partner"):
        partners(one.groups[:1], other.groups)
    odd = other.groups[0]._replace(places=other.groups[0].places[:-1])
    with pytest.raises(InputError, match=r"with the same places \(2.weight differs\)"):
        partners(one.groups, (odd, other.groups[1]))


class Tied(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(7, width), nn.LayerNorm(width)
        self.scores = nn.Linear(width, 7, bias=False)
        self.scores.weight = self.table.weight

    def forward(self, x):
        return self.scores(self.norm(self.table(x)))


@pytest.mark.parametrize("stored", [("table.weight", "scores.weight"), ("table.weight",)])
def test_tied_embeddings_keep_their_width(stored):
    def tied(seed: int, width: int) -> Net:
        torch.manual_seed(seed)
        model = Tied(width)
        state = {name: value.detach() for name, value in model.state_dict().items() if "norm" in name or name in stored}
        return Net(model, state, symmetries(model, (torch.tensor([1, 2]),)).groups)

    one, same, other = tied(0, 6), tied(1, 6), tied(1, 8)
    back = applied(same.state, ot_fusion(one.state, same.state, one.groups, same.groups).maps)
    assert all(torch.equal(back[name], back["table.weight"]) for name in stored)
    with pytest.raises(InputError, match="from 8 to 6 units, and one tensor both brings them forth and reads them"):
        ot_fusion(one.state, other.state, one.groups, other.groups)


def test_pairs_under_rotary_positions_stay_and_need_the_same_size():
    rotary = hidden(4)._replace(kind="rotary")
    assert ot_fusion(PAIRS, PAIRS, [rotary], [rotary]).maps == ()
    with pytest.raises(InputError, match="4 units in one network and 2 in the other, turned"):
        partners([hidden(2)._replace(kind="rotary")], [rotary])
