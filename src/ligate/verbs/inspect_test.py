from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from ligate.core.errors import RecipeError
from ligate.verbs.inspect import inspect


def test_headers_are_added_up(tmp_path):
    save_file({"a": torch.ones(2, 3).bfloat16(), "b": torch.ones(4)}, tmp_path / "m.safetensors", {"note": "x"})
    found = inspect(tmp_path / "m.safetensors")
    assert (found.label, found.parameters, found.nbytes) == ("m", 10, 28)
    assert found.dtypes == {"F32": (1, 16), "BF16": (1, 12)}
    assert found.metadata == {"note": "x"}
    assert {tensor.file for tensor in found.tensors} == {"m.safetensors"}


def test_numbers_by_hand():
    (tensor,) = inspect({"w": torch.tensor([1.0, -3.0, 0.0, math.inf])}, stats=True).tensors
    numbers = tensor.numbers
    assert (numbers.mean, numbers.low, numbers.high) == (pytest.approx(-2 / 3), -3.0, 1.0)
    assert numbers.norm == pytest.approx(math.sqrt(10))
    assert (numbers.zeros, numbers.nonfinite) == (pytest.approx(1 / 3), 1)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64])
def test_every_dtype_has_numbers(dtype):
    (tensor,) = inspect({"w": torch.tensor([1.0, 0.0]).to(dtype)}, stats=True).tensors
    assert (tensor.numbers.low, tensor.numbers.high) == (0.0, 1.0)


def test_a_tensor_of_nan_only_has_no_mean():
    (tensor,) = inspect({"w": torch.tensor([math.nan])}, stats=True).tensors
    assert (tensor.numbers.mean, tensor.numbers.nonfinite) == (None, 1)


def test_a_pattern_chooses_and_must_match():
    model = {"a.x": torch.ones(1), "b.x": torch.ones(1)}
    assert [tensor.name for tensor in inspect(model, only="a.*").tensors] == ["a.x"]
    with pytest.raises(RecipeError):
        inspect(model, only="c.*")
