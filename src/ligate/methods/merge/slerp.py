"""Spherical interpolation between two models, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.notebook import complete
from ligate.ops.rows import same_shape

if TYPE_CHECKING:
    from torch import Tensor

_NO_LENGTH = 1e-8
_NO_ARC = 1e-12  # 1 - |cos| below this: the angle is lost to rounding


class Angle(NamedTuple):
    """Cosine between two flattened tensors, and their lengths. The cosine is 0 where one has no length."""

    cosine: float
    base_length: float
    tuned_length: float

    @property
    def exists(self) -> bool:
        return min(self.base_length, self.tuned_length) > _NO_LENGTH


_Dots = tuple[float, float, float]  # base . base, tuned . tuned, base . tuned


def _observe(dots: _Dots, base: Tensor, tuned: Tensor, *, site: Site) -> _Dots:
    a, b = base.double(), tuned[0].double()
    return _added(dots, (float(torch.dot(a, a)), float(torch.dot(b, b)), float(torch.dot(a, b))))


def _added(x: _Dots, y: _Dots) -> _Dots:
    return x[0] + y[0], x[1] + y[1], x[2] + y[2]


def _angle(dots: _Dots) -> Angle:
    lengths = math.sqrt(dots[0]), math.sqrt(dots[1])
    if min(lengths) <= _NO_LENGTH:
        return Angle(0.0, *lengths)
    cosine = dots[2] / lengths[0] / lengths[1]
    return Angle(min(max(cosine, -1.0), 1.0), *lengths)


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    start: _Dots = (0.0, 0.0, 0.0)
    return (Stat("angle", "tensor", lambda models: start, _observe, _added, _angle, report=_told),)


def _told(angle: Angle) -> Mapping[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in angle._asdict().items()}


@method(
    title="SLERP",
    source="doi:10.1145/325334.325242",
    base="required",
    models=(1, 1),
    stats=_stats,
    stat_names=("angle",),
)
def slerp(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    angle: Angle | None = None,
    t: Annotated[float, Range(0, 1)] = 0.5,
    straight_above: Annotated[float, Range(0, 1)] = 0.9995,
    vectors: Literal["straight", "curved"] = "straight",
    no_angle: Literal["straight", "right"] = "straight",
) -> Tensor:
    r"""Go from the base (t = 0) to the other model (t = 1) along an arc.

    .. math::
        \theta = \frac{\sin((1-t)\,\omega)}{\sin\omega}\,\theta_0 + \frac{\sin(t\,\omega)}{\sin\omega}\,\theta_1,
        \quad \cos\omega = \frac{\langle\theta_0, \theta_1\rangle}{|\theta_0|\,|\theta_1|}

    The angle is that of the whole flattened tensor; lengths are mixed by the same coefficients, not preserved. A
    straight line :math:`(1-t)\,\theta_0 + t\,\theta_1` replaces the arc where :math:`|\cos\omega|` is above
    ``straight_above`` (no arc is defined between opposite tensors), for tensors of one axis (biases and gains of
    norms are no directions; ``vectors: curved`` treats them as the others) and where a tensor is zero
    (``no_angle: right`` takes a right angle there).

    Shapes: ``base`` [*S]; ``tuned`` [1, *S], float; returns [*S]. Dtypes are the engine's.
    Source: Shoemake, Animating rotation with quaternion curves, 1985; applied to weights by model builders.
    Differs: no paper defines it for weights. The exceptions above are ours; the threshold is the customary one.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> slerp(torch.tensor([[3.0, 0.0]]), torch.tensor([[[0.0, 1.0]]]))
    tensor([[2.1213, 0.7071]])
    """
    same_shape(base, tuned, where="merge/slerp")
    shape = site.shape if site else tuple(base.shape)
    known: Angle = complete(_stats({}), base, tuned, site, {"angle": angle})["angle"]
    straight = (
        not abs(known.cosine) <= min(straight_above, 1 - _NO_ARC)  # also where a length overflowed: NaN
        or (len(shape) < 2 and vectors == "straight")
        or (not known.exists and no_angle == "straight")
    )
    start, end = base.double(), tuned[0].double()
    if straight:
        return torch.lerp(start, end, t).to(base.dtype)
    omega = math.acos(known.cosine)
    first, second = math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
    return (start * first + end * second).to(base.dtype)
