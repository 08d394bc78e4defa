from __future__ import annotations

from pathlib import Path

import torch

from ligate.bench.kept import remembered


def test_answers_are_measured_once_for_a_key(tmp_path: Path):
    calls: list[int] = []

    def compute() -> torch.Tensor:
        calls.append(1)
        return torch.tensor([[1, 2], [3, 0]])

    first = remembered(tmp_path / "answers", "key", compute)
    assert torch.equal(first, remembered(tmp_path / "answers", "key", compute))
    remembered(tmp_path / "answers", "other", compute)
    assert len(calls) == 2
