"""NearSwap: go from the base to another model by no more than a small step in each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base

if TYPE_CHECKING:
    from torch import Tensor


@method(
    title="NearSwap",
    source="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    base="required",
    models=(1, 1),
)
def nearswap(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    near: Annotated[float, Range(0)] = 1e-3,
) -> Tensor:
    r"""Take the other model's weight where it is near the base's; elsewhere go towards it by the same small step.

    .. math::
        \theta = \theta_0 + \min\left(1, \frac{t}{|\tau|}\right) \tau
               = \theta_0 + \max(-t, \min(t, \tau)), \quad \tau = \theta_1 - \theta_0

    with t = ``near``, in units of the weights. The second form is the one that is computed.

    Shapes: ``base`` [*S]; ``tuned`` [1, *S], float; returns [*S]. Dtypes are the engine's.
    Source: model cards of QuartetAnemoi-70B and BoreanGale-70B, where :math:`t` is 0.0001 and 0.001; no paper.
    Differs: mergekit takes distances below 1e-6 for 1e-6, so that for :math:`t` below 1e-6 it steps less there; both
        results then differ from each other by less than :math:`t`.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there is more than one model.

    >>> import torch
    >>> nearswap(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([[1.25, 3.0, -1.0]]), near=0.5)
    tensor([1.2500, 1.5000, 0.5000])
    """
    with_base(base, tuned, where="merge/nearswap", most=1)
    start = base.double()
    return (start + (tuned[0].double() - start).clamp(-near, near)).to(base.dtype)
