"""DARE before a weighted sum: drop entries of the task vectors at random, scale up the rest, add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.direct import AddWeighted
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.before import straight
from ligate.ops.drop import drop_stats, dropping, gains_after
from ligate.ops.notebook import complete
from ligate.ops.rows import add_weighted, check_weights, per_model, same_shape, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _rule(known: Mapping[str, Any], models: int) -> AddWeighted:
    """Of parameters and statistics."""
    weights = per_model(known["weight"], models, name="weight")
    factor = known["scale"] / total_weight(weights, normalize=known["normalize"])
    return AddWeighted(gains_after(known, weights, known.get("gain")), factor)


@method(
    title="DARE, linear",
    source="arXiv:2311.03099",
    base="required",
    symmetric=True,
    stats=drop_stats,
    stat_names=("gain",),
    check=check_weights,
    direct=straight(dropping, _rule),
)
def dare_linear(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    gain: Sequence[float] | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.9,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    normalize: bool = False,
    rescale: Literal["inverse_prob", "l1", "none"] = "inverse_prob",
) -> Tensor:
    r"""Keep each entry of a task vector with probability ``density``, scale up what is left, add the weighted sum.

    .. math::
        \tilde\tau_k = \frac{m_k \odot \tau_k}{d_k}, \quad m_k \sim \mathrm{Bernoulli}(d_k), \quad
        \theta = \theta_0 + \lambda \sum_k w_k \tilde\tau_k

    with :math:`\tau_k = \theta_k - \theta_0`, :math:`w_k` = ``weight``, divided by their sum if ``normalize``, and
    :math:`\lambda` = ``scale``, so that the expectation is that of task arithmetic. The masks depend on the seed, the
    tensor's name and the model's label alone, never on what else is merged.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2311.03099, section 3. Its drop rate is 1 - ``density``; the default is the official code's rate, 0.1.
    Differs: the official code scales up only when asked to. ``rescale: l1`` is mergekit's meaning: the factor that
        restores each task vector's L1 norm in this tensor, in place of 1/d; it depends on which entries survive.
        Nothing is excluded; few entries (biases) make a noisy estimate.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: no ``site`` to draw from; weights that sum to zero are to be normalised; not one value per model.

    >>> import torch
    >>> from ligate.ops.notebook import site
    >>> place = site("w", (6,), ["math"], seed=2)  # its noise lets the last three entries survive
    >>> dare_linear(torch.zeros(6), torch.tensor([[1.0, 2, 3, 4, 5, 6]]), site=place, density=0.5)
    tensor([ 0.,  0.,  0.,  8., 10., 12.])
    """
    same_shape(base, tuned, where="merge/dare_linear")
    params = {"density": density, "weight": weight, "scale": scale, "normalize": normalize, "rescale": rescale}
    known = {**params, **complete(drop_stats(params), base, tuned, site, {"gain": gain})}
    return add_weighted(base, dropping(params).of(base, tuned, site=site), _rule(known, len(tuned)))
