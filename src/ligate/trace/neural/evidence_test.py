from __future__ import annotations

import math

import pytest
import torch

from ligate.core.errors import InputError
from ligate.trace.neural.evidence import between, evidence
from ligate.trace.neural.simulated import mlp, tuned
from ligate.trace.neural.tangent import net, reading

INPUTS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
SAYS = reading(INPUTS)


def test_angles_and_distances_worked_by_hand():
    """The child in the origin, P at (3, 0), Q at (3, 4): at P a right angle and 4 : 3; at Q the cosine is 4/5."""
    found = between(torch.tensor([[3.0, 0.0], [3.0, 4.0]]))
    assert found[0, 1].tolist() == pytest.approx([0.0, math.log(4 / 3)])
    assert found[1, 0].tolist() == pytest.approx([0.8, math.log(4 / 5)])
    assert not found.diagonal(dim1=0, dim2=1).any()


def test_the_order_of_units_in_between_does_not_change_the_features_or_angles():
    child, parents = net(mlp(0), SAYS), {str(seed): net(mlp(seed), SAYS) for seed in (1, 2)}
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))

    def moved(state):
        kept = dict(state)
        for name in ("0.weight", "0.bias"):
            kept[name] = kept[name][order]
        return kept | {"2.weight": state["2.weight"][:, order]}

    plain = evidence(child, parents)
    other = evidence(
        child._replace(state=moved(child.state)),
        {name: each._replace(state=moved(each.state)) for name, each in parents.items()},
    )
    torch.testing.assert_close(plain.between, other.between, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.features, other.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.weight_facts, other.weight_facts, rtol=1e-3, atol=1e-4)


def test_a_parent_is_at_a_right_angle_and_a_sibling_is_not():
    root = mlp(0)
    child, sibling = tuned(root, 1), tuned(root, 2)
    given = evidence(net(child, SAYS), {"root": net(root, SAYS), "sibling": net(sibling, SAYS)})
    assert abs(float(given.between[0, 1, 0])) < 0.3
    assert float(given.between[1, 0, 0]) > 0.5


def test_some_candidates_are_the_evidence_of_these():
    parents = {str(seed): net(mlp(seed), SAYS) for seed in range(1, 5)}
    whole = evidence(net(mlp(0), SAYS), parents).of([3, 1])
    few = evidence(net(mlp(0), SAYS), {name: parents[name] for name in ("4", "2")})
    assert whole.names == few.names
    for one, other in zip(whole[1:], few[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_the_same_network_gives_finite_numbers():
    given = evidence(net(mlp(0), SAYS), {"same": net(mlp(0), SAYS), "other": net(mlp(1), SAYS)})
    assert all(bool(each.isfinite().all()) for each in given[1:])


def test_candidates_of_other_shapes_are_refused_by_name():
    with pytest.raises(InputError, match="wide"):
        evidence(net(mlp(0), SAYS), {"wide": net(mlp(1, width=20), SAYS)})
