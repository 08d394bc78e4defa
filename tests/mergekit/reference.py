"""What mergekit's rules mean, once more in plain numpy float64 on whole tensors; shares no code with Ligate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def wide(tensors: Sequence[Array]) -> list[Array]:
    return [tensor.astype(np.float64) for tensor in tensors]


def linear(tensors: Sequence[Array], weights: Sequence[float], normalize: bool = True) -> Array:
    total = sum(weight * tensor for weight, tensor in zip(weights, wide(tensors), strict=True))
    return total / sum(weights) if normalize else total


def slerp(start: Array, end: Array, t: float) -> Array:
    a, b = wide((start, end))
    norms = [float(np.sqrt((x * x).sum())) for x in (a, b)]
    cosine = float((a * b).sum()) / ((norms[0] or 1) * (norms[1] or 1))
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def trim(delta: Array, density: float) -> Array:
    """Keep the `int(density * n)` largest magnitudes, at least one; the test data has no equal magnitudes."""
    if density <= 0:
        return np.zeros_like(delta)
    order = np.argsort(-np.abs(delta), axis=None)
    kept = np.zeros(delta.size)
    kept[order[: max(1, int(density * delta.size))]] = 1
    return delta * kept.reshape(delta.shape)


def restore_l1(masked: Array, whole: Array) -> Array:
    before, after = np.abs(whole).sum(), np.abs(masked).sum()
    return masked if min(before, after) < 1e-7 else masked * (before / after)


def weighted_sum(
    base: Array, deltas: Sequence[Array], weights: Sequence[float], *, normalize: bool = False, scale: float = 1.0
) -> Array:
    mixed = sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))
    divisor = sum(weights)
    if normalize and abs(divisor) >= 1e-8:
        mixed = mixed / divisor
    return base + scale * mixed


def elected_sum(
    base: Array, deltas: Sequence[Array], weights: Sequence[float], *, normalize: bool, scale: float = 1.0
) -> Array:
    """Sum of the weighted deltas that share the sign of their total, a total of zero counting as plus."""
    weighted = np.stack([weight * delta for weight, delta in zip(weights, deltas, strict=True)])
    elected = np.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agree = np.sign(weighted) == elected
    mixed = (weighted * agree).sum(0)
    if normalize:
        column = np.array(weights).reshape(-1, *[1] * base.ndim)
        divisor = (column * agree).sum(0)
        mixed = mixed / np.where(divisor == 0, 1, divisor)
    return base + scale * mixed


def deltas(base: Array, tuned: Sequence[Array]) -> tuple[Array, list[Array]]:
    origin, *others = wide((base, *tuned))
    return origin, [other - origin for other in others]
