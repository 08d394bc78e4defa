from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.nuslerp import nuslerp

A, B = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
TWO = torch.stack([A, B])


def by_definition(a, b, t):
    """One arc in float64."""
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def test_the_weights_say_how_far_to_go():
    angle = math.pi / 2 * 3 / 4
    expected = math.cos(angle) * A + math.sin(angle) * B
    torch.testing.assert_close(nuslerp(None, TWO, weight=(1, 3)), expected)
    torch.testing.assert_close(nuslerp(None, TWO, weight=(5, 0)), A)


def test_with_a_base_the_changes_of_it_are_turned():
    base = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(nuslerp(base, base + TWO), base + nuslerp(None, TWO))


@pytest.mark.parametrize("along", ["tensor", "rows", "columns"])
@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 2, 5)])
def test_each_vector_has_its_own_angle(along, shape):
    one, two = np.random.default_rng(0).standard_normal((2, *shape))
    merged = nuslerp(None, torch.from_numpy(np.stack([one, two])), weight=(1, 2), along=along).numpy()
    if along == "tensor":
        views = [x.reshape(1, -1) for x in (one, two, merged)]
    elif along == "rows":
        views = [x.reshape(-1, shape[-1]) for x in (one, two, merged)]
    else:
        views = [x.reshape(shape[0], -1).T for x in (one, two, merged)]
    for a, b, m in zip(*views, strict=True):
        np.testing.assert_allclose(m, by_definition(a, b, 2 / 3), rtol=1e-12)


def test_parallel_and_opposite_vectors_have_no_arc():
    for factor in (2, -1):
        merged = nuslerp(None, torch.stack([A, A * factor]), weight=(1, 3))
        torch.testing.assert_close(merged, A * 0.25 + A * factor * 0.75)


def test_a_change_of_nothing():
    nothing = torch.stack([A * 0, B])
    torch.testing.assert_close(nuslerp(None, nothing), B / 2)
    torch.testing.assert_close(nuslerp(None, nothing, no_angle="right"), B * math.sqrt(0.5))
    table = torch.tensor([[[0.0, 0], [1, 0]], [[0.0, 1], [0, 1]]])
    torch.testing.assert_close(nuslerp(None, table, along="rows"), torch.tensor([[0, 0.5], [0.5**0.5, 0.5**0.5]]))


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(RecipeError, match="sum to zero"):
        nuslerp(None, TWO, weight=(1, -1))
    with pytest.raises(RecipeError, match="merges 2 models besides any base, not 3"):
        nuslerp(None, torch.zeros(3, 2))
    with pytest.raises(InputError, match=r"base is \(3,\), models are \(2,\)"):
        nuslerp(torch.zeros(3), TWO)
