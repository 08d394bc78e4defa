from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ligate.core.errors import InputError
from ligate.trace.neural.ranking import explained, neural_lineage, scored
from ligate.trace.neural.similarity import SIMILARITIES, similarity
from ligate.trace.neural.tangent import Tangent, net, reading, tangent

INPUTS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


class Square(nn.Module):
    """f(x; t) = t^2 x"""

    def __init__(self, t: float) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor(t))

    def forward(self, x: Tensor) -> Tensor:
        return self.t**2 * x


def mlp(seed: int, width: int = 10, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes))


def tuned(network: nn.Module, seed: int, size: float = 0.1) -> nn.Module:
    torch.manual_seed(seed)
    child = mlp(0)
    child.load_state_dict(
        {name: value + size * torch.randn_like(value) for name, value in network.state_dict().items()}
    )
    return child


def test_the_step_worked_by_hand():
    """From t = 1 to 1.2: 1 + 2 x 0.2 = 1.4 beside 1.44; from t = 3: 9 - 6 x 1.8 = -1.8. The error is (t_C - t_P)^2."""
    says = reading(torch.ones(1, 1), layer="")
    parents = {"one": Square(1.0), "three": Square(3.0)}
    found = neural_lineage(Square(1.2), parents, says, similarity="l2", step=1.0)
    assert [each.name for each in found.candidates] == ["one", "three"]
    assert [(-each.score) ** 0.5 for each in found.candidates] == pytest.approx([0.04, 3.24], rel=1e-4)
    assert [each.plain for each in found.candidates] == pytest.approx([-(0.44**2), -(7.56**2)], rel=1e-4)
    assert found.candidates[0].explained == pytest.approx(1 - 0.04**2 / 0.44**2, rel=1e-4)
    assert found.candidates[0].distance == pytest.approx(0.2 / 1.2, rel=1e-5)
    assert found.margin == pytest.approx(3.24**2 - 0.04**2, rel=1e-4)


def test_the_step_in_the_similarity_worked_by_hand():
    """-0.44^2 + a 2 x 0.44 x 0.4: with a = 1/4 it is -0.1056, with a = 1 it would be above 0 and is cut off."""
    says = reading(torch.ones(1, 1), layer="")
    for step, expected in ((0.25, -0.1056), (1.0, 0.0)):
        found = neural_lineage(
            Square(1.2), {"one": Square(1.0)}, says, similarity="l2", approximation="similarity", step=step
        )
        assert found.candidates[0].score == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_the_slope_of_every_similarity_is_that_of_finite_differences(name: str):
    draw = torch.Generator().manual_seed(3)
    features, change, said = (torch.randn(6, 4, generator=draw, dtype=torch.float64) for _ in range(3))
    sim, small = similarity(name), 1e-6
    slope = float(sim.of(features + small * change, said) - sim.of(features - small * change, said)) / (2 * small)
    expected = min(float(sim.of(features, said)) + 1e-2 * slope, sim.best)
    assert scored(sim, Tangent(features, change), said, "similarity", 1e-2) == pytest.approx(expected, abs=1e-7)


def test_the_tangent_is_the_derivative_along_the_difference_of_weights():
    parent, child = mlp(0).double(), mlp(1).double()
    says = reading(INPUTS.double())
    at, small = tangent(net(parent, says), net(child, says).state), 1e-5
    ends = []
    for sign in (1, -1):
        near = mlp(0).double()
        near.load_state_dict(
            {
                name: value + sign * small * (child.state_dict()[name] - value)
                for name, value in parent.state_dict().items()
            }
        )
        ends.append(says(near))
    torch.testing.assert_close(at.change, (ends[0] - ends[1]) / (2 * small), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(at.features, says(parent))


def test_attention_has_a_tangent():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval() for _ in range(2)]
    says = reading(torch.randn(3, 4, 8), layer="")
    at = tangent(net(layers[0], says), net(layers[1], says).state)
    assert at.change.shape == (3, 4, 8)
    assert float(at.change.abs().max()) > 0


def test_the_parent_of_a_small_change_is_found_among_strangers():
    roots = {str(seed): mlp(seed) for seed in range(4)}
    for name, root in roots.items():
        for measure in SIMILARITIES:
            found = neural_lineage(tuned(root, 9), roots, reading(INPUTS), similarity=measure)  # pyright: ignore[reportArgumentType]
            assert found.parent == name
            first = found.candidates[0]
            assert first.explained is not None
            assert first.explained > 0.8
            assert first.score > first.plain


def test_a_new_head_does_not_matter():
    root = mlp(0)
    child = tuned(root, 9)
    child[4] = nn.Linear(10, 7)  # pyright: ignore[reportIndexIssue]
    found = neural_lineage(child, {"stranger": mlp(1), "root": root}, reading(INPUTS))
    assert found.parent == "root"
    assert found.candidates[0].left == ("4.weight", "4.bias")


def test_candidates_of_other_shapes_come_last_and_say_why():
    root = mlp(0)
    parents = {"wide": mlp(1, width=12), "stranger": mlp(2), "root": root}
    found = neural_lineage(tuned(root, 9), parents, reading(INPUTS), similarity="cka")
    assert [each.name for each in found.candidates] == ["root", "stranger", "wide"]
    assert found.candidates[2].score == found.candidates[2].plain
    assert "[8, 12]" in found.candidates[2].why
    found = neural_lineage(tuned(root, 9), parents, reading(INPUTS), similarity="l2")
    assert not found.candidates[2].comparable
    assert found.parent == "root"


def test_with_most_tensors_of_other_shapes_no_step_is_taken():
    found = neural_lineage(mlp(0, width=10), {"wide": mlp(1, width=40)}, reading(INPUTS, layer=""))
    assert found.candidates[0].why.startswith("shares")
    assert found.candidates[0].score == found.candidates[0].plain


def test_without_the_step_the_score_is_the_similarity():
    found = neural_lineage(mlp(0), {"other": mlp(1)}, reading(INPUTS), approximation="none")
    assert found.candidates[0].score == found.candidates[0].plain
    assert found.candidates[0].explained is None


def test_nobody_to_choose_from_is_an_error():
    with pytest.raises(InputError, match="nobody"):
        neural_lineage(mlp(0), {}, reading(INPUTS))


def test_a_layer_that_is_not_there_is_told():
    with pytest.raises(InputError, match="no such layer"):
        neural_lineage(mlp(0), {"other": mlp(1)}, reading(INPUTS, layer="body.head"))


def test_what_is_explained_is_all_nothing_or_less():
    features, said = torch.zeros(2, 2), torch.ones(2, 2)
    for change, share in ((1.0, 1.0), (0.0, 0.0), (-1.0, -3.0)):
        assert explained(Tangent(features, torch.full((2, 2), change)), said) == share


def test_asking_leaves_networks_as_they_are():
    parent = mlp(0)
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    neural_lineage(mlp(1), {"parent": parent}, reading(INPUTS))
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())
    assert not any(module._forward_pre_hooks for module in parent.modules())  # pyright: ignore[reportPrivateUsage]
