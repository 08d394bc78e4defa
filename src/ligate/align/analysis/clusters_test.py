from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ligate.align.analysis.clusters import Clusters, clusters, embedded, inside
from ligate.align.analysis.correlation import correlations, standard
from ligate.core.errors import RecipeError


def _families(a_of: list[int], b_of: list[int], noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Units that follow a common signal with noise of their own, signs at random; a list says who follows which."""
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(500, max(a_of + b_of) + 1, generator=generator)

    def units(of: list[int]) -> Tensor:
        signs = torch.randint(2, (len(of),), generator=generator) * 2 - 1
        return signs * signals[:, of] + noise * torch.randn(500, len(of), generator=generator)

    return units(a_of), units(b_of)


def _same(labels: Tensor, families: list[int]) -> bool:
    """Whether two units are in one cluster exactly if they are in one family."""
    truth = torch.tensor(families)
    return torch.equal(labels[:, None] == labels, truth[:, None] == truth)


def test_planted_families_are_found_whatever_their_signs():
    a_of, b_of = [0, 0, 1, 1, 1, 2, 2, 2], [2, 2, 0, 0, 0, 0, 1, 1]
    a, b = (standard(each) for each in _families(a_of, b_of))
    found = clusters(correlations(a, b).between, 3)
    assert _same(torch.cat([found.a, found.b]), a_of + b_of)
    assert found.participation().sum(0).tolist() == [8, 8]
    assert sorted(map(tuple, found.participation().tolist())) == [(2, 4), (3, 2), (3, 2)]
    assert found.shared == 1.0


def test_a_family_of_one_network_is_not_shared():
    a_of, b_of = [0] * 4 + [1] * 4, [0] * 7 + [1]
    a, b = (standard(each) for each in _families(a_of, b_of))
    found = clusters(correlations(a, b).between, 2)
    assert sorted(map(tuple, found.participation().tolist())) == [(4, 1), (4, 7)]
    assert found.shared == pytest.approx(11 / 16)  # 7/8 against 4/8 is alike, 1/8 against 4/8 is not


def test_the_embedding_is_that_of_the_whole_laplacian():
    between = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    graph = torch.zeros(10, 10, dtype=torch.float64)
    graph[:6, 6:], graph[6:, :6] = between, between.T
    root = torch.diag(graph.sum(1).rsqrt())
    _, vectors = torch.linalg.eigh(torch.eye(10, dtype=torch.float64) - root @ graph @ root)
    wanted = torch.nn.functional.normalize(vectors[:, :3])
    found = torch.cat(embedded(between, 3))
    torch.testing.assert_close((found @ found.T), wanted @ wanted.T)  # the same but for signs of the vectors


def test_the_same_seed_gives_the_same_clusters():
    between = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, other = (clusters(between, seed=3) for _ in range(2))
    assert torch.equal(one.a, other.a)
    assert torch.equal(one.b, other.b)
    assert one.number == 5


def test_every_unit_of_a_permuted_copy_is_in_the_cluster_of_its_twin():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(300, 24, generator=generator)
    order = torch.randperm(24, generator=generator)
    found = clusters(correlations(standard(a), standard(a[:, order])).between, 6)
    assert torch.equal(found.b, found.a[order])
    assert found.shared == 1.0


def test_how_much_of_the_correlation_lies_inside_worked_by_hand():
    """Squares 4, 1 | 1, 4 with a = b = (0, 1): 8 of 10 lie on the diagonal."""
    found = Clusters(torch.tensor([0, 1]), torch.tensor([0, 1]), 2)
    assert inside(torch.tensor([[0.2, -0.1], [0.1, -0.2]]), found) == pytest.approx(0.8)
    assert inside(torch.zeros(2, 2), found) is None


def test_more_clusters_than_units_are_refused():
    with pytest.raises(RecipeError, match="9 clusters of 8"):
        clusters(torch.ones(8, 12), 9)


def test_networks_without_live_units():
    assert clusters(torch.zeros(0, 3)).participation().tolist() == [[0, 3]]
