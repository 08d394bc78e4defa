from __future__ import annotations

import numpy as np
import pytest

from ligate.trace.blends import affine, linear_merges


def squared(points: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - points[None]).sum(-1)


def family(seed: int = 0) -> np.ndarray:
    """A root and three children at right angles, in 4096 dimensions."""
    draw = np.random.default_rng(seed)
    root = draw.normal(size=4096)
    return np.stack([root, *(root + 0.05 * draw.normal(size=4096) for _ in range(3))])


def test_the_weights_of_the_worked_example():
    """tau1 = (1, 0), tau2 = (1, 1), tau = (.8, .5) over a base at 0: .3, .5, and .2 for the base."""
    points = np.array([[0.8, 0.5], [1, 0], [1, 1], [0, 0]])
    weights, left = affine(squared(points), 0, np.array([[1, 2, 3]]))
    assert weights[0] == pytest.approx([0.3, 0.5, 0.2]) and left[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "weights",
    [{1: 0.3, 2: 0.7}, {0: 0.5, 1: 0.5}, {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}, {1: 0.6, 2: 0.6, 3: 0.6, 0: -0.8}],
)
def test_a_planted_merge_is_found_with_its_weights(weights: dict[int, float]):
    points = family()
    merge = sum(weight * points[number] for number, weight in weights.items())
    found = linear_merges(squared(np.stack([*points, merge])))
    assert list(found) == [4]
    assert found[4].weights == pytest.approx(weights, abs=1e-6)


def test_a_merge_survives_rounding_to_half_precision():
    points = family()
    merge = (0.25 * points[1] + 0.75 * points[2]).astype(np.float16).astype(float)
    found = linear_merges(squared(np.stack([*points, merge])))
    assert found[4].weights == pytest.approx({1: 0.25, 2: 0.75}, abs=1e-3)


def test_a_parent_is_no_merge_of_its_children():
    draw = np.random.default_rng(1)
    root = draw.normal(size=4096)
    children = [root + 0.05 * draw.normal(size=4096) for _ in range(7)]
    assert linear_merges(squared(np.stack([root, *children]))) == {}
