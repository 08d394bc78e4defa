"""Groups of units of both networks that go together, many to many.

"Convergent Learning", arXiv 1511.07543, section 3.4: a graph with an edge |c_ij| between unit i of a and unit j of b
is cut by its normalised Laplacian L = 1 - D^-1/2 W D^-1/2. W joins the two networks only, so the vectors to the
smallest values of L are singular vectors of D_a^-1/2 |C| D_b^-1/2 ("Co-clustering documents and words using bipartite
spectral graph partitioning", Dhillon, KDD 2001). Their rows, each of length 1, are put into clusters by k-means.

Differs: the paper draws a hierarchy of clusters; here they are flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

_STARTS, _ROUNDS = 4, 100


class Clusters(NamedTuple):
    """`a` [units of a] and `b` [units of b] say which cluster a unit is in; clusters are numbered by their sizes."""

    a: Tensor
    b: Tensor
    number: int

    def participation(self) -> Tensor:
        """[clusters, 2]: how many units of each network take part."""
        return torch.stack([each.bincount(minlength=self.number) for each in (self.a, self.b)], 1)

    def alike(self) -> Tensor:
        """[clusters], whether both networks give alike to it.

        Alike: the network that gives the smaller share of its units gives at least half of the other's share.
        """
        counts = self.participation().double()
        shares = counts / counts.sum(0).clamp_min(1)
        return shares.amin(1) >= 0.5 * shares.amax(1)

    @property
    def shared(self) -> float:
        """Share of all units in clusters to which both networks give alike."""
        sizes = self.participation().sum(1)
        return float(sizes[self.alike()].sum()) / max(int(sizes.sum()), 1)


def inside(between: Tensor, found: Clusters) -> float | None:
    """Share of the squared correlations between the networks that lies within clusters, from 0 to 1.

    About 1 / clusters, and more for few samples, where the clusters are made of noise. None without any correlation.
    """
    squares = between.double().square()
    total = float(squares.sum())
    return float(squares[found.a[:, None] == found.b].sum()) / total if total > 0 else None


def clusters(between: Tensor, number: int | None = None, *, seed: int = 0) -> Clusters:
    """Cut the units of both networks into clusters.

    Args:
        between: [units of a, units of b] correlations; their signs do not matter.
        number: how many clusters; a quarter of the narrower network's units if it is not given.

    Raises:
        RecipeError: more clusters than the narrower network has units.
    """
    first, second = between.shape
    narrow = min(first, second)
    wanted = max(1, narrow // 4) if number is None else number
    if not 1 <= wanted <= max(narrow, 1):
        raise RecipeError(f"{wanted} clusters of {narrow} units", hint="each network must have as many live units.")
    if not narrow:
        return Clusters(torch.zeros(first, dtype=torch.int64), torch.zeros(second, dtype=torch.int64), 1)
    spots = torch.cat(embedded(between, wanted))
    labels = _by_size(_kmeans(spots, wanted, torch.Generator().manual_seed(seed)), wanted)
    return Clusters(labels[:first], labels[first:], wanted)


def embedded(between: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """[units of a, count] and [units of b, count]: rows of length 1, from the `count` smallest vectors of L."""
    edges = between.double().abs()
    first, second = (edges.sum(dim).clamp_min(1e-300).rsqrt() for dim in (1, 0))
    left, _, right = torch.linalg.svd(first[:, None] * edges * second, full_matrices=False)
    return torch.nn.functional.normalize(left[:, :count]), torch.nn.functional.normalize(right.T[:, :count])


def _kmeans(spots: Tensor, count: int, generator: torch.Generator) -> Tensor:
    found = [_settled(spots, _first_centres(spots, count, generator)) for _ in range(_STARTS)]
    return min(found, key=lambda one: one[0])[1]


def _settled(spots: Tensor, centres: Tensor) -> tuple[float, Tensor]:
    """Lloyd's rounds: the sum of squared distances, and the cluster of each spot."""
    labels = torch.full((len(spots),), -1)
    for _ in range(_ROUNDS):
        nearest = torch.cdist(spots, centres).argmin(1)
        if torch.equal(nearest, labels):
            break
        labels = nearest
        sizes = labels.bincount(minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, labels, spots)
        # A centre that lost all its spots stays where it is.
        centres = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp_min(1), centres)
    return float((spots - centres[labels]).square().sum()), labels


def _first_centres(spots: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each centre is drawn with a chance that grows with the squared distance to those before it."""
    chosen = [int(torch.randint(len(spots), (1,), generator=generator))]
    far = (spots - spots[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        chances = far if float(far.sum()) > 0 else torch.ones_like(far)
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
        far = torch.minimum(far, (spots - spots[chosen[-1]]).square().sum(1))
    return spots[chosen]


def _by_size(labels: Tensor, count: int) -> Tensor:
    """The same clusters, numbered from the largest to the smallest."""
    order = labels.bincount(minlength=count).argsort(descending=True, stable=True)
    return order.argsort()[labels]
