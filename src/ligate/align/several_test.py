"""Networks of one truth: noise is put on it, and each gets its units in an order of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import AxisMap, Group, applied, reordered
from ligate.align.matching import weight_matching
from ligate.align.several import Several, State, in_common, mean_of
from ligate.align.transport import ot_fusion
from ligate.core.errors import InputError


class Planted(NamedTuple):
    model: nn.Module
    truth: State
    noisy: list[State]  # in the order of the truth
    networks: list[State]
    groups: Sequence[Group]

    def by_weights(self, reference: State, network: State, number: int) -> list[AxisMap]:
        return weight_matching(reference, network, self.groups, starts=1).maps(self.groups)

    def moved(self, found: Several) -> list[State]:
        return [applied(one, maps) for one, maps in zip(self.networks, found.maps, strict=True)]


def planted(seed: int, width: int, noise: float, number: int = 5) -> Planted:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    groups = symmetries(model, (torch.zeros(1, 5),)).groups
    truth = {name: value.detach() for name, value in model.state_dict().items()}
    noisy = [{n: v + noise * v.std() * torch.randn_like(v) for n, v in truth.items()} for _ in range(number)]
    networks = noisy
    for group in groups:
        networks = [applied(one, [reordered(group, torch.randperm(group.size))]) for one in networks]
    return Planted(model, truth, noisy, networks, groups)


def apart(networks: Sequence[State]) -> float:
    """The sum of || W_i - mean ||^2 over the sum of || W_i ||^2, by all pairs."""
    flat = torch.stack([torch.cat([v.double().flatten() for _, v in sorted(one.items())]) for one in networks])
    return float(torch.cdist(flat, flat).square().sum() / (2 * len(flat)) / flat.square().sum())


@pytest.mark.parametrize(("seed", "width", "noise"), [(2, 12, 0.5), (2, 24, 0.7), (3, 12, 0.7)])
def test_permuted_noisy_copies_come_as_close_as_they_were_planted(seed: int, width: int, noise: float):
    given = planted(seed, width, noise)
    found = in_common(given.networks, given.by_weights, seed=seed)
    assert found.spreads[-1] == pytest.approx(apart(given.noisy), rel=1e-6)
    assert apart(given.moved(found)) == pytest.approx(found.spreads[-1], rel=1e-6)
    assert apart(given.networks) > 2 * found.spreads[-1]


def test_the_mean_of_the_others_finds_what_the_first_alone_does_not_tell():
    given = planted(2, 24, 0.7)
    assert in_common(given.networks, given.by_weights).spreads[0] > 1.1 * apart(given.noisy)


def test_the_mean_of_aligned_networks_is_nearer_to_the_truth_than_any_and_loses_less():
    given = planted(0, 24, 0.5)
    found = in_common(given.networks, given.by_weights)
    x = torch.randn(200, 5)

    def loss(state: State) -> float:
        with torch.no_grad():
            true, said = (torch.func.functional_call(given.model, dict(one), (x,)) for one in (given.truth, state))
        return float((said - true).square().mean())

    merged = loss(mean_of(given.moved(found)))
    assert merged < min(map(loss, given.networks)) / 2
    assert merged < loss(mean_of(given.networks)) / 2
    assert merged == pytest.approx(loss(mean_of(given.noisy)), rel=1e-4)


def test_spreads_never_grow_and_the_last_round_moves_nothing():
    given = planted(0, 12, 0.9)
    found = in_common(given.networks, given.by_weights)
    assert len(found.spreads) > 3
    assert all(after <= before for before, after in zip(found.spreads, found.spreads[1:], strict=False))
    assert found.spreads[-1] == found.spreads[-2]


def test_a_way_to_align_that_brings_nothing_closer_is_not_followed():
    given = planted(0, 12, 0.2, number=3)
    asked = []

    def anyhow(reference: State, network: State, number: int) -> list[AxisMap]:
        asked.append(number)
        good = given.by_weights(reference, network, number)
        return good if len(asked) <= 2 else [reordered(group, torch.randperm(group.size)) for group in given.groups]

    found = in_common(given.networks, anyhow)
    assert len(asked) == 2 + 3 and found.spreads[0] == found.spreads[1]


def test_the_same_seed_gives_the_same_maps():
    given = planted(1, 12, 0.9)
    one, again = (in_common(given.networks, given.by_weights, seed=4) for _ in range(2))
    assert one.spreads == again.spreads


def test_networks_of_other_widths_come_to_the_widths_of_the_first():
    pytest.importorskip("scipy")
    given = [planted(0, width, 0.1, number=1) for width in (10, 12, 14)]
    groups = [each.groups for each in given]
    networks = [each.networks[0] for each in given]
    found = in_common(networks, lambda to, one, k: ot_fusion(to, one, groups[0], groups[k]).maps)
    moved = [applied(one, maps) for one, maps in zip(networks, found.maps, strict=True)]
    assert all({n: v.shape for n, v in one.items()} == {n: v.shape for n, v in networks[0].items()} for one in moved)
    with pytest.raises(InputError, match=r"tensor 0.weight of network 1: is \[12, 5\] after .* \[10, 5\]"):
        in_common(networks, lambda to, one, k: [])


def test_counters_stay_those_of_the_first():
    one, other = ({"w": torch.ones(2, dtype=torch.bfloat16) * k, "n": torch.tensor(k)} for k in (1, 4))
    assert mean_of([one, other])["n"].item() == 1
    assert mean_of([one, other])["w"].tolist() == [2.5, 2.5] and mean_of([one, other])["w"].dtype == torch.bfloat16


def test_one_network_has_nobody_to_be_aligned_to():
    with pytest.raises(InputError, match="1 given"):
        in_common([{}], lambda to, one, number: [])
