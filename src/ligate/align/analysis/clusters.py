"""Groups of units of both networks that go together, many to many.

"Convergent Learning", arXiv 1511.07543, section 3.4: all units of both networks are one graph, with an edge |c_ij|
between any two of them, within and between the networks; it is cut by its normalised Laplacian
L = 1 - D^-1/2 W D^-1/2. The vectors to the smallest values of L, their rows scaled to length 1 ("On Spectral
Clustering: Analysis and an algorithm", Ng, Jordan and Weiss, NIPS 2001), are put into clusters by k-means.

With edges between the networks only, a unit and its twin in a permuted copy may end on opposite sides: singular vectors
of |C| to negative eigenvalues have opposite signs on both. Edges within the networks hold them together.

Differs: the paper draws a hierarchy of clusters; here they are flat. Whether its graph has edges within the networks is
not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.align.analysis.correlation import Correlations

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
        """Share of all units in clusters to which both networks give alike.

        Near 0 for unrelated networks, if units within each have something in common and there are clusters enough to
        tell them apart. If not, noise makes the clusters, and both networks have their share of it.
        """
        sizes = self.participation().sum(1)
        return float(sizes[self.alike()].sum()) / max(int(sizes.sum()), 1)


def clusters(found: Correlations, number: int | None = None, *, seed: int = 0) -> Clusters:
    """Cut the units of both networks into clusters.

    Args:
        found: correlations within and between the networks; their signs do not matter.
        number: how many clusters; a quarter of the narrower network's units if it is not given.

    Raises:
        RecipeError: more clusters than the narrower network has units.
    """
    first, second = found.between.shape
    narrow = min(first, second)
    wanted = max(1, narrow // 4) if number is None else number
    if not 1 <= wanted <= max(narrow, 1):
        raise RecipeError(f"{wanted} clusters of {narrow} units", hint="each network must have as many live units.")
    if not narrow:
        return Clusters(torch.zeros(first, dtype=torch.int64), torch.zeros(second, dtype=torch.int64), 1)
    spots = embedded(found, wanted)
    labels = _by_size(_kmeans(spots, wanted, torch.Generator().manual_seed(seed)), wanted)
    return Clusters(labels[:first], labels[first:], wanted)


def embedded(found: Correlations, count: int) -> Tensor:
    """[units of a and b, count]: rows of length 1, from the `count` smallest vectors of L."""
    above, below = torch.cat([found.a, found.between], 1), torch.cat([found.between.T, found.b], 1)
    edges = torch.cat([above, below]).double().abs().fill_diagonal_(0)
    scale = edges.sum(1).clamp_min(1e-300).rsqrt()
    _, vectors = torch.linalg.eigh(scale[:, None] * edges * scale)  # the largest of these are the smallest of L
    return torch.nn.functional.normalize(vectors[:, -count:])


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
