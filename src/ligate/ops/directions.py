"""The strongest singular directions of several tasks, made orthogonal to each other: what TSV-Merge adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ligate.core.method import Site, Stat
from ligate.core.spare import ahead, side_by_side

from .matrices import Kernels, Matrices, matrices
from .spectrum import gram, inverse_root, orthogonal, parts, spectrum

if TYPE_CHECKING:
    from torch import Tensor


class Directions(NamedTuple):
    """How task vectors [m, n] become steps: with A_k = left_k diag(values_k) root_k, the step of task k is A_k V.

    V stacks each task's right singular vectors, which its reader finds; the steps of all tasks are A V together.
    """

    readers: Sequence[Tensor]  # per task [r_k, m]: times the task vector, its right singular vectors
    left: Tensor  # [m, R] orthogonal, R the sum of r_k
    values: Tensor  # [R] singular values
    root: Tensor  # [R, R] the inverse root of the overlap of the right singular vectors
    kept: Sequence[float]  # per task, the share of its squared norm that its directions have

    def mix(self, weights: Sequence[float]) -> Tensor:
        """[m, R] times `right` is the sum of all steps, each task's times its weight."""
        each = [torch.full((len(reader),), float(one)) for reader, one in zip(self.readers, weights, strict=True)]
        return (self.left * self.values * torch.cat(each).to(self.values)) @ self.root

    def right(self, pair: Matrices, part: slice) -> Tensor:
        """[R, columns of the part] right singular vectors of all tasks."""
        return torch.cat([reader @ pair.task(k, part) for k, reader in enumerate(self.readers)])

    def steps(self, tuned: Tensor) -> Tensor:
        """[K, m, n] the step of each task, from task vectors [K, m, n], in their precision."""
        readers = [reader.to(tuned.dtype) for reader in self.readers]
        sizes = [len(reader) for reader in readers]
        right = torch.cat([reader @ each for reader, each in zip(readers, tuned, strict=True)])
        right = self.root.to(right.dtype) @ right
        left = (self.left * self.values).to(right.dtype)
        return torch.stack([one @ own for one, own in zip(left.split(sizes, 1), right.split(sizes), strict=True)])


def directions(pair: Matrices, share: float | None) -> Directions:
    """Of matrices that lie (`pair.lying()`); `share` of the smaller side for each task, None: 1 / K."""
    models, rank = len(pair.tuned), min(pair.shape)
    share = 1 / models if share is None else share
    count = max(1, int(rank * share)) if share > 0 else 0
    found = side_by_side(lambda k: spectrum(gram(pair.blocks(k))).top(count), range(models))
    readers = [one.vectors.T / one.values[:, None] for one in found]
    values = torch.cat([one.values for one in found])
    none = values.new_empty(0, 0)
    raw = Directions(readers, none, values, none, [one.kept for one in found])
    overlap = gram(ahead(lambda part: raw.right(pair, part), parts(pair.shape)))
    across = torch.cat([one.vectors for one in found], dim=1)
    left, root = side_by_side(lambda find: find(), (lambda: orthogonal(across), lambda: inverse_root(overlap)))
    return raw._replace(left=left, root=root)


def found_once(share: float | None, kernels: Kernels) -> Stat:
    """One look at the whole tensor finds its directions; None for a tensor that is averaged."""

    def observe(state: None, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Directions | None:
        pair = matrices(base, tuned, site, kernels)
        return None if pair is None else directions(pair.lying(), share)

    return Stat("directions", "tensor", lambda models: None, observe, lambda a, b: b, lambda found: found, _told)


def _told(found: Directions | None) -> Mapping[str, Any]:
    return {} if found is None else {"rank": [len(one) for one in found.readers], "kept": list(found.kept)}
