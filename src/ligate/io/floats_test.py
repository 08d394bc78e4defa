from __future__ import annotations

import pytest
import torch

from ligate.core.tensors import torch_dtype
from ligate.io.floats import FLOATING, widened


@pytest.mark.parametrize("dtype", sorted(dtype for dtype in FLOATING if dtype.startswith("F8")))
def test_each_eight_bit_pattern_means_what_torch_says(dtype):
    bits = torch.arange(256, dtype=torch.uint8)
    expected = bits.view(torch_dtype(dtype)).float()
    found = torch.from_numpy(widened(bytearray(bits.numpy()), dtype).copy())
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(nan=0.5).view(torch.int32), expected.nan_to_num(nan=0.5).view(torch.int32))


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_each_sixteen_bit_pattern_means_what_torch_says(dtype):
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16)
    expected = bits.view(torch_dtype(dtype)).float()
    found = torch.from_numpy(widened(bytearray(bits.numpy().tobytes()), dtype).copy())
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(nan=0.5).view(torch.int32), expected.nan_to_num(nan=0.5).view(torch.int32))


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_wide_numbers_pass_as_they_are(dtype):
    numbers = torch.tensor([1.5, -0.0, 3e-39, float("inf")], dtype=torch_dtype(dtype))
    assert torch.equal(torch.from_numpy(widened(bytearray(numbers.numpy().tobytes()), dtype).copy()), numbers)
