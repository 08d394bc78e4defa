"""Take a tensor of one model as it is, or scaled: the rule of layer stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from ligate.core import kernels
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import per_model

if TYPE_CHECKING:
    from torch import Tensor


@method(title="Passthrough", source="practice", base="unused", models=(1, 1), symmetric=True)
def passthrough(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    scale: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
) -> Tensor:
    r"""Take the tensor of the one model, times ``scale``.

    .. math::
        \theta = \lambda\, \theta_1

    Layer ranges of several models, each taken over like this, make a deeper or shallower network. ``scale: 0`` on the
    last projection of attention and feed-forward turns an inserted block into the identity.

    Shapes: ``base`` is not used; ``tuned`` [1, *S], float; returns [*S]. Dtypes are the engine's.
    Source: a practice of model builders; arXiv:2312.15166 (depth up-scaling) describes one use.
    Differs: nothing is published about it as a method; networks stacked like this usually need further training.

    >>> import torch
    >>> passthrough(None, torch.tensor([[3.0, -2.0]]), scale=0.5)
    tensor([ 1.5000, -1.0000])
    """
    return kernels.weighted_sum(tuned.reshape(1, -1), per_model(scale, 1, name="scale")).view(tuned.shape[1:])
