from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from ligate.io.memory import MemorySource
from ligate.io.noise import Noisy, normal


def test_normal_numbers_are_normal_and_a_row_can_be_entered_anywhere():
    row = normal(1, "w", "a", 0, 200_000)
    assert abs(row.mean()) < 0.01
    assert abs(row.std() - 1) < 0.01
    assert abs((np.abs(row) > 2).mean() - 0.0455) < 0.002
    assert np.isfinite(row).all()
    np.testing.assert_array_equal(normal(1, "w", "a", 777, 50), row[777:827])
    assert not np.array_equal(normal(2, "w", "a", 0, 50), row[:50])


def test_noise_is_added_to_numbers_and_to_nothing_else():
    inner = MemorySource("a", {"w": torch.full((300,), 2.0, dtype=torch.bfloat16), "steps": torch.tensor([7])})
    with closing(Noisy(inner, "a with noise", 0.5, 3)) as noisy:
        header = noisy.headers()["w"]
        assert (header.dtype, header.native, noisy.label) == ("F32", "BF16", "a with noise")
        whole, part = np.zeros(300, np.float32), np.zeros(40, np.float32)
        noisy.read_into("w", 0, memoryview(whole).cast("B"))
        noisy.read_into("w", 100, memoryview(part).cast("B"))
        np.testing.assert_array_equal(part, whole[100:140])
        np.testing.assert_allclose(whole, 2 + 0.5 * normal(3, "w", "a with noise", 0, 300), rtol=1e-6)
        assert noisy.headers()["steps"].dtype == "I64"


def test_noise_that_leaves_the_dtype_becomes_infinite_without_a_warning():
    inner = MemorySource("a", {"w": torch.zeros(300, dtype=torch.bfloat16)})
    found = np.zeros(300, np.float32)
    for spread in (1e39, 1e308):
        Noisy(inner, "a with noise", spread, 3).read_into("w", 0, memoryview(found).cast("B"))
        assert np.isinf(found).any()
