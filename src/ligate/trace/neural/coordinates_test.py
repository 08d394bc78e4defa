from __future__ import annotations

import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import applied
from ligate.align.members import random_member
from ligate.trace.neural.coordinates import beside
from ligate.trace.neural.ranking import neural_lineage
from ligate.trace.neural.tangent import reading

INPUTS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def mlp(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3))


def of(state: dict[str, torch.Tensor]) -> nn.Sequential:
    made = mlp(0)
    made.load_state_dict(state)
    return made


def test_a_child_in_another_order_is_brought_beside_its_parent():
    root, strangers = mlp(0), {str(seed): mlp(seed) for seed in (1, 2)}
    groups = symmetries(root, (INPUTS,)).groups
    torch.manual_seed(9)
    child = {name: value + 0.05 * torch.randn_like(value) for name, value in root.state_dict().items()}
    draw = torch.Generator().manual_seed(3)
    moved = applied(child, [random_member(group, child, draw) for group in groups])
    torch.testing.assert_close(of(moved)(INPUTS), of(child)(INPUTS))
    before = neural_lineage(of(moved), {"root": root}, reading(INPUTS)).candidates[0]
    back = beside(moved, root.state_dict(), groups)
    after = neural_lineage(of(back), {"root": root, **strangers}, reading(INPUTS))
    assert before.explained is not None
    assert after.candidates[0].explained is not None
    assert before.distance is not None
    assert after.candidates[0].distance is not None
    assert after.parent == "root"
    assert before.explained < 0.5 < after.candidates[0].explained
    assert before.distance > 0.8 > 0.3 > after.candidates[0].distance
    torch.testing.assert_close(of(back)(INPUTS), of(child)(INPUTS))
