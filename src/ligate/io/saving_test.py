from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ligate.core.errors import StorageError
from ligate.io.saving import save_tensors


def test_what_is_saved_is_read_back_by_others(tmp_path: Path):
    tensors = {
        "a": torch.randn(3, 4).T,
        "b": torch.arange(5), "c": torch.tensor(1.5), "d": torch.ones(2, dtype=torch.bfloat16),
        "e": torch.zeros(0, 3),
    }  # fmt: skip
    save_tensors(tensors, tmp_path / "x.safetensors", {"kind": "fisher"})
    found = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], one) and found[name].dtype == one.dtype for name, one in tensors.items())
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "kind": "fisher"}
    assert [one.name for one in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    with pytest.raises(StorageError, match="nowhere"):
        save_tensors({"a": torch.ones(1)}, tmp_path / "nowhere" / "x.safetensors")
