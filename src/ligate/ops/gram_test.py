from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.method import Site
from ligate.ops.gram import coefficient_stat, combined, cosines_of, length_of_sum, lengths_of


def whole(models, along):
    """Dot products [vectors, K, K] from whole arrays [K, *S]."""
    if along == "tensor":
        vectors = models.reshape(len(models), 1, -1)
    elif along == "rows":
        vectors = models.reshape(len(models), -1, models.shape[-1])
    else:
        vectors = models.reshape(len(models), models.shape[1], -1).transpose(0, 2, 1)
    return np.einsum("ivn,jvn->vij", vectors, vectors)


@pytest.mark.parametrize("along", ["tensor", "rows", "columns"])
@pytest.mark.parametrize("shape", [(12,), (4, 6), (3, 2, 4)])
@pytest.mark.parametrize("cuts", [(), (5,), (1, 7, 8)])
def test_blocks_add_up_whatever_they_cut_through(along, shape, cuts):
    models = np.random.default_rng(0).standard_normal((3, *shape))
    flat = torch.from_numpy(models).reshape(3, -1)
    seen = []
    stat = coefficient_stat("c", along, lambda gram: seen.append(gram) or gram[:, 0].T)
    states, ends = [], (*cuts, flat.shape[1])
    for start, stop in zip((0, *cuts), ends, strict=True):
        place = Site("w", shape, start, lambda model, step: torch.empty(0))
        states.append(stat.observe(stat.init(3), None, flat[:, start:stop], site=place))
    total = states[0]
    for state in states[1:]:
        total = stat.merge(total, state)
    coefficients = stat.finish(total)
    np.testing.assert_allclose(seen[0], whole(models, along), rtol=1e-12, atol=1e-12)
    pieces = [
        combined(None, flat[:, start:stop], coefficients, along, Site("w", shape, start, lambda model, step: flat[0]))
        for start, stop in zip((0, *cuts), ends, strict=True)
    ]
    at_once = combined(None, torch.from_numpy(models), coefficients, along, None)
    assert torch.equal(torch.cat(pieces), at_once.reshape(-1))


def test_lengths_and_angles():
    gram = np.array([[[9.0, 0, 3], [0, 0, 0], [3, 0, 4]]])
    assert lengths_of(gram).tolist() == [[3, 0, 2]]
    assert cosines_of(gram)[0].tolist() == [[1, 0, 0.5], [0, 0, 0], [0.5, 0, 1]]


def test_unit_vectors_that_cancel_out_have_no_sum():
    opposite = np.array([[1.0, -1], [-1, 1]])
    assert length_of_sum(opposite, np.array([0.5, 0.5])) == 0
    assert length_of_sum(opposite, np.array([0.75, 0.25])) == 0.5


def test_what_overflows_has_no_direction():
    stat = coefficient_stat("c", "tensor", lambda gram: cosines_of(gram)[0])
    place = Site("w", (2,), 0, lambda model, step: torch.empty(0))
    models = torch.tensor([[1e200, 1e200], [1.0, 0.0]], dtype=torch.float64)
    cosines = stat.finish(stat.observe(stat.init(2), None, models, site=place))
    assert cosines.tolist() == [[0, 0], [0, 1]]
