from __future__ import annotations

import pytest
import torch

from ligate.learn.processed import elected, orthogonal, processed
from ligate.methods.merge.tsv_m import tsv_m

BASE = {"w": torch.tensor([1.0, 1.0, 1.0]), "b": torch.tensor([0.0, 0.0])}
EXPERTS = [
    {"w": torch.tensor([5.0, 1.5, 1.0]), "b": torch.tensor([-3.0, 0.1])},
    {"w": torch.tensor([-1.0, 4.0, 1.0]), "b": torch.tensor([-1.0, 0.2])},
]


def test_task_vectors_are_trimmed_over_the_whole_model_and_cleared_of_conflicts():
    """Deltas (4, .5, 0; -3, .1) and (-2, 3, 0; -1, .2): of five, .4 and one more are kept: 4, -3, .5 and 3, -2, -1."""
    first, second = elected(BASE, EXPERTS, density=0.4)
    assert (first["w"] - BASE["w"]).tolist() == [4.0, 0.5, 0.0]
    assert (first["b"] - BASE["b"]).tolist() == [-3.0, 0.0]
    assert (second["w"] - BASE["w"]).tolist() == [0.0, 3.0, 0.0]  # -2 stands against 4
    assert (second["b"] - BASE["b"]).tolist() == [-1.0, 0.0]


def test_a_tensor_is_processed_once_for_all_experts():
    asked: list[str] = []

    def halved(name: str, deltas: torch.Tensor) -> torch.Tensor:
        asked.append(name)
        return deltas / 2

    experts = processed(BASE, EXPERTS, halved)
    assert [each["w"].tolist() for each in experts] == [[3.0, 1.25, 1.0], [0.0, 2.5, 1.0]]
    assert [each["b"].tolist() for each in experts] == [[-1.5, 0.05000000074505806], [-0.5, 0.10000000149011612]]
    assert asked == ["w", "b"] and list(experts[0]) == ["w", "b"] and len(experts[0]) == 2


@pytest.mark.parametrize("shape", [(6, 14), (14, 6), (5,), (3, 2, 2)])
def test_orthogonal_experts_add_up_to_the_rule_with_their_weights(shape):
    draw = torch.Generator().manual_seed(1)
    base, *experts = ({"w": torch.randn(shape, generator=draw)} for _ in range(4))
    weights = [0.5, 2.0, -1.0]
    steps = [each["w"] - base["w"] for each in orthogonal(base, experts)]
    merged = base["w"] + sum(one * step for one, step in zip(weights, steps, strict=True))
    rule = tsv_m(base["w"], torch.stack([each["w"] for each in experts]), weight=weights)
    torch.testing.assert_close(merged, rule, rtol=1e-4, atol=1e-5)
