from __future__ import annotations

import pytest
import torch

from ligate.ops import truncation
from ligate.ops.truncation import truncated


def matrix(rows: int, columns: int, decay: float = 0.9) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=draw, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(columns, rows, generator=draw, dtype=torch.float64))[0]
    return left * decay ** torch.arange(rows) @ right.T


def blocks_of(whole: torch.Tensor, width: int = 37):
    return lambda: iter(whole.split(width, dim=1))


def left_over(whole: torch.Tensor, vectors: torch.Tensor) -> float:
    return float((whole - vectors @ (vectors.T @ whole)).norm())


def test_a_diagonal_matrix_keeps_its_largest_entries():
    whole = torch.diag(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    found = truncated(blocks_of(whole), (3, 3), 2, None)
    assert found.values.tolist() == pytest.approx([3, 2])
    assert torch.allclose(found.vectors, torch.tensor([[0, 0], [1, 0], [0, 1]], dtype=torch.float64))
    assert found.energy == pytest.approx(14)


@pytest.mark.parametrize("how", ["svd", "gram", "subspace"])
def test_every_way_finds_the_best_approximation(how, monkeypatch):
    whole = matrix(200, 300)
    monkeypatch.setattr(truncation, "way", lambda *_: how)
    found = truncated(blocks_of(whole), (200, 300), 6, None)
    best = float(torch.linalg.svdvals(whole)[6:].square().sum().sqrt())
    assert found.how == how
    assert found.rank == 6
    assert left_over(whole, found.vectors) == pytest.approx(best, rel=2e-3 if how == "subspace" else 1e-9)
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(6, dtype=torch.float64), atol=1e-12)
    assert (found.vectors.gather(0, found.vectors.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("how", ["svd", "gram", "subspace"])
def test_directions_that_are_not_there_are_not_made_up(how, monkeypatch):
    whole = matrix(120, 200)[:, :1] @ torch.ones(1, 200, dtype=torch.float64)
    monkeypatch.setattr(truncation, "way", lambda *_: how)
    found = truncated(blocks_of(whole), (120, 200), 5, None)
    assert found.rank == 1
    assert left_over(whole, found.vectors) < 1e-7 * float(whole.norm())
    nothing = truncated(blocks_of(whole * 0), (120, 200), 5, None)
    assert nothing.rank == 0
    assert nothing.energy == 0


def test_an_energy_takes_as_few_directions_as_have_it():
    whole = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))  # 9, 13, 14 of 14
    assert truncated(blocks_of(whole), (3, 3), None, 13 / 14 - 1e-9).rank == 2
    assert truncated(blocks_of(whole), (3, 3), None, 0.95).rank == 3
    assert truncated(blocks_of(whole), (3, 3), 1, 0.95).rank == 1
    assert truncated(blocks_of(whole), (3, 3), None, 1.0).rank == 3


def test_large_matrices_with_few_directions_are_iterated():
    assert truncation.way((4096, 11008), 64, None) == "subspace"
    assert truncation.way((4096, 11008), 64, 0.9) == "gram"
    assert truncation.way((4096, 11008), 1024, None) == "gram"
    assert truncation.way((64, 64), 4, None) == "svd"


def test_the_same_matrix_gives_the_same_bits():
    whole = matrix(700, 800)
    one, two = (truncated(blocks_of(whole), (700, 800), 8, None) for _ in range(2))
    assert one.how == "subspace"
    assert torch.equal(one.vectors, two.vectors)
