import numpy as np
import pytest

from ligate.core.draw import uniform


@pytest.mark.parametrize(("start", "size"), [(0, 5), (8, 16), (3, 9), (131072, 40), (131071, 3)])
def test_a_slice_holds_the_numbers_of_the_whole(start, size):
    whole = uniform(7, "w", "math", 0, 0, start + size)
    assert np.array_equal(uniform(7, "w", "math", 0, start, size), whole[start:])


def test_rows_differ_by_seed_tensor_model_and_step():
    rows = [
        uniform(*words, 0, 64).tobytes()
        for words in [(0, "a", "m", 0), (1, "a", "m", 0), (0, "b", "m", 0), (0, "a", "n", 0), (0, "a", "m", 1)]
    ]
    assert len(set(rows)) == 5


def test_numbers_are_uniform():
    numbers = uniform(0, "w", "m", 0, 0, 1 << 17)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.003
