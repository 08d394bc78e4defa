from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError
from ligate.learn.processed import orthogonal
from ligate.methods.merge.tsv_m import tsv_m
from ligate.methods.merge.tsv_scaled import tsv_scaled


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_factors_of_another_shape_are_told():
    with pytest.raises(InputError, match="factor of model 0"):
        tsv_scaled(drawn(5, 8), drawn(2, 5, 8, seed=1), factor=drawn(2, 8, 8))


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (7,), (), (4, 3, 2)])
def test_factors_that_are_the_same_everywhere_are_weights_of_tsv_merge(shape: tuple[int, ...]):
    base, tuned = drawn(*shape), drawn(3, *shape, seed=1)
    weights = [0.5, -2.0, 1.5]
    factor = torch.stack([torch.full(shape, weight, dtype=torch.float64) for weight in weights])
    for found in (tsv_scaled(base, tuned, factor=factor), tsv_scaled(base, tuned, weight=weights)):
        torch.testing.assert_close(found, tsv_m(base, tuned, weight=weights), rtol=1e-9, atol=1e-11)


def test_each_number_of_a_step_counts_by_its_own_factor():
    """Rows of one merge and rows of another."""
    base, tuned = drawn(6, 9), drawn(2, 6, 9, seed=1)
    factor = torch.ones(2, 6, 9, dtype=torch.float64)
    factor[0, 3:], factor[1, 3:] = 2.0, 0.0
    found = tsv_scaled(base, tuned, factor=factor)
    torch.testing.assert_close(found[:3], tsv_m(base, tuned)[:3])
    torch.testing.assert_close(found[3:], tsv_m(base, tuned, weight=[2.0, 0.0])[3:])


def test_what_is_learned_of_orthogonal_experts_comes_to_it():
    base, tuned, factor = drawn(5, 8), drawn(3, 5, 8, seed=1), drawn(3, 5, 8, seed=2)
    experts = orthogonal({"w": base}, [{"w": one} for one in tuned])
    due = base + sum(f * (each["w"] - base) for f, each in zip(factor, experts, strict=True))
    torch.testing.assert_close(tsv_scaled(base, tuned, factor=factor), due, rtol=1e-5, atol=1e-5)
