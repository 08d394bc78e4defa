from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ligate.align.analysis.clusters import clusters, embedded
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
    found = clusters(correlations(a, b), 3)
    assert _same(torch.cat([found.a, found.b]), a_of + b_of)
    assert found.participation().sum(0).tolist() == [8, 8]
    assert sorted(map(tuple, found.participation().tolist())) == [(2, 4), (3, 2), (3, 2)]
    assert found.shared == 1.0


def test_a_family_of_one_network_is_not_shared():
    a_of, b_of = [0] * 4 + [1] * 4, [0] * 7 + [1]
    a, b = (standard(each) for each in _families(a_of, b_of))
    found = clusters(correlations(a, b), 2)
    assert sorted(map(tuple, found.participation().tolist())) == [(4, 1), (4, 7)]
    assert found.shared == pytest.approx(11 / 16)  # 7/8 against 4/8 is alike, 1/8 against 4/8 is not


def test_the_embedding_solves_the_generalised_problem_of_the_whole_graph():
    """(D - W) v = x D v, by scipy; its vectors are those of L times D^-1/2, which rows of length 1 forget."""
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(0)
    a, b = (standard(torch.randn(30, units, generator=generator)) for units in (6, 4))
    graph = torch.corrcoef(torch.cat([a.values, b.values], 1).T).abs().fill_diagonal_(0)
    degrees = torch.diag(graph.sum(1))
    _, vectors = linalg.eigh((degrees - graph).numpy(), degrees.numpy())
    wanted = torch.nn.functional.normalize(torch.from_numpy(vectors[:, :3]))
    found = embedded(correlations(a, b), 3)
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T)  # the same but for the signs of the vectors


def test_the_same_seed_gives_the_same_clusters():
    a, b = (standard(torch.randn(40, 20, generator=torch.Generator().manual_seed(seed))) for seed in (0, 1))
    one, other = (clusters(correlations(a, b), seed=3) for _ in range(2))
    assert torch.equal(one.a, other.a)
    assert torch.equal(one.b, other.b)
    assert one.number == 5


def test_every_unit_of_a_permuted_copy_is_in_the_cluster_of_its_twin():
    """Also where units resemble each other a lot, with both signs: so do those of trained networks."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(300, 5, generator=generator) @ torch.randn(5, 24, generator=generator)
    a = a.relu() + 0.1 * torch.randn(300, 24, generator=generator)
    order = torch.randperm(24, generator=generator)
    found = clusters(correlations(standard(a), standard(a[:, order])), 6)
    assert torch.equal(found.b, found.a[order])
    assert found.shared == 1.0


def test_unrelated_networks_share_no_cluster():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(300, 5, generator=generator) @ torch.randn(5, 24, generator=generator) for _ in range(2))
    assert clusters(correlations(standard(a), standard(b)), 6).shared < 0.2


def test_more_clusters_than_units_are_refused():
    a, b = (standard(torch.randn(40, units)) for units in (8, 12))
    with pytest.raises(RecipeError, match="9 clusters of 8"):
        clusters(correlations(a, b), 9)


def test_networks_without_live_units():
    a, b = standard(torch.zeros(9, 3)), standard(torch.randn(9, 3))
    assert clusters(correlations(a, b)).participation().tolist() == [[0, 3]]
