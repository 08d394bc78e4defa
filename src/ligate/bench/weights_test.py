from __future__ import annotations

from pathlib import Path

import torch

from ligate.bench.weights import read_weights, write_weights


def test_weights_come_back_as_they_were_with_their_types_and_shapes(tmp_path: Path):
    matrix = torch.arange(12.0).reshape(3, 4)
    state = {
        "matrix": matrix,
        "transposed": matrix.T,
        "half": torch.tensor([0.1, 0.2]).bfloat16(),
        "count": torch.tensor(7),
    }
    write_weights(state, tmp_path / "model")
    found = read_weights(tmp_path / "model")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in state.items())
