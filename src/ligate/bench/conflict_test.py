from __future__ import annotations

import pytest
import torch

from ligate.bench.conflict import conflicts, place_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("embeddings.word_embeddings.weight", ("embeddings", "")),
        ("encoder.layer.0.attention.self.query.weight", ("layer 1", "attention")),
        ("encoder.layer.11.intermediate.dense.bias", ("layer 12", "feed-forward")),
        ("model.layers.3.self_attn.q_proj.weight", ("layer 4", "attention")),
        ("pooler.dense.weight", ("other", "")),
    ],
)
def test_a_name_tells_layer_and_part(name: str, place: tuple[str, str]):
    assert place_of(name) == place


def test_shares_worked_by_hand():
    """Ten weights, so each expert counts its two largest changes; the experts meet in the first and the second."""
    base = {"layer.0.dense.weight": torch.zeros(10)}
    tuned = [{"layer.0.dense.weight": torch.zeros(10)} for _ in range(3)]
    for model, first, second in zip(tuned, (1.0, 2.0, 3.0), (5.0, -5.0, 4.0), strict=True):
        model["layer.0.dense.weight"][:2] = torch.tensor([first, second])
        model["layer.0.dense.weight"][5] = 0.1  # agreed on, but too small to count
    (found,) = conflicts(base, tuned)
    assert (found.layer, found.part, found.shared) == ("layer 1", "feed-forward", 2)
    assert found.opposed == 0.5  # the second weight
    assert found.chance == 0.75  # three coins are not all alike


def test_unchanged_parts_are_left_out():
    base = {"embeddings.weight": torch.ones(8), "pooler.weight": torch.ones(8), "embeddings.ids": torch.arange(3)}
    tuned = [{**base, "embeddings.weight": torch.arange(8.0) * sign + 1} for sign in (1, -1)]
    assert [(one.layer, one.opposed) for one in conflicts(base, tuned)] == [("embeddings", 1.0)]
