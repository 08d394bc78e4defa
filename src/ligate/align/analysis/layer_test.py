from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from ligate.align.analysis.layer import Layer, Wish, compared
from ligate.core.errors import InputError, RecipeError


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu()


def _value(layer: Layer, name: str) -> float:
    value = layer.indices[name].value
    assert value is not None
    return value


@pytest.fixture(scope="module")
def permuted() -> Layer:
    a = _random(300, 20)
    return compared("0", a, a[:, torch.randperm(20, generator=torch.Generator().manual_seed(1))])


def test_a_permuted_copy_is_the_same_in_every_respect(permuted: Layer):
    for name in ("matched", "greedy", "shared", "cka", "debiased_cka", "svcca", "pwcca"):
        assert _value(permuted, name) == pytest.approx(1.0)
    assert _value(permuted, "procrustes") == pytest.approx(0.0, abs=1e-9)
    assert min(permuted.matched) == pytest.approx(1.0)
    # Unpenalised it would be exact; the penalty takes its share off the one weight that is needed.
    assert permuted.sparse[-1].error == pytest.approx(0.02**2, rel=0.5)
    assert permuted.sparse[-1].used < 3


def test_its_correlations_lie_on_the_diagonal_after_matching_only(permuted: Layer):
    after, before = (torch.tensor(each) for each in (permuted.heat.after, permuted.heat.before))
    assert after.diagonal().tolist() == [100] * 20
    assert before.float().diagonal().mean() < 50


def test_chance_is_far_below_and_positive_although_nothing_is_shared(permuted: Layer):
    for name in ("matched", "greedy", "cka", "svcca"):
        by_lot = permuted.indices[name].chance
        assert by_lot is not None
        assert 0.0 < by_lot.mean < 0.5
    debiased = permuted.indices["debiased_cka"].chance
    assert debiased is not None
    assert abs(debiased.mean) < 0.02


def test_redundant_units_of_unrelated_networks_share_no_clusters():
    signals = _random(300, 4)
    a = signals[:, torch.arange(24) % 4] + 0.2 * _random(300, 24, seed=1)
    layer = compared("0", a, a.flip(1), Wish(strengths=(), clusters=8))
    by_lot = layer.indices["shared"].chance
    assert _value(layer, "shared") == 1.0
    assert all(each.a == each.b for each in layer.clusters)
    assert by_lot is not None
    assert by_lot.mean < 0.2


def test_unrelated_networks_are_no_more_alike_than_chance_says():
    layer = compared("0", _random(300, 20), _random(300, 24, seed=1))
    for name in ("matched", "greedy", "cka", "svcca"):
        by_lot = layer.indices[name].chance
        assert by_lot is not None
        assert _value(layer, name) == pytest.approx(by_lot.mean, abs=0.03)
    assert layer.sparse[-1].error > 0.9


def test_units_that_repeat_each_other_and_dead_ones_are_told():
    a = _random(100, 6)
    a[:, 5] = a[:, 0]
    b = a.clone()
    b[:, 2] = 0
    layer = compared("0", a, b)
    assert (layer.a.units, layer.a.dead, layer.b.dead) == (6, 0, 1)
    assert layer.a.redundancy is not None
    assert layer.a.redundancy > 2 / 6
    assert len(layer.matched) == 5


def test_a_network_without_live_units_is_told_and_breaks_nothing():
    layer = compared("0", _random(50, 4), torch.zeros(50, 3))
    assert not layer.comparable
    assert layer.indices == {}
    assert layer.clusters == []
    assert layer.b.dead == 3


def test_large_layers_are_drawn_by_some_of_their_units():
    layer = compared("0", _random(50, 300), _random(50, 250, seed=1), Wish(strengths=(), draws=0))
    assert len(layer.matched) == len(layer.greedy) == 200
    assert (len(layer.heat.before), len(layer.heat.before[0]), len(layer.heat.after)) == (96, 96, 96)
    assert layer.sparse == []
    assert layer.indices["cka"].chance is None


def test_it_is_data(permuted: Layer):
    assert json.loads(json.dumps(permuted._asdict()))["name"] == "0"


def test_errors_name_the_layer():
    with pytest.raises(InputError, match=r"layer blocks\.0"):
        compared("blocks.0", _random(5, 3), _random(6, 3))
    with pytest.raises(RecipeError, match="blocks of 7"):
        compared("blocks.0", _random(50, 3), _random(50, 3, seed=1), Wish(rows=7))
