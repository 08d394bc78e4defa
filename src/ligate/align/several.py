"""More than two networks in common coordinates: each is aligned to the mean of the others until none comes closer.

MergeMany of Git Re-Basin, arXiv 2209.04836, with any way to align two networks. With M_i the maps of network i,

    minimise  sum over i, j of  || M_i(W_i) - M_j(W_j) ||^2

by descent: for one network, all others held still, that is an alignment to their mean. A network only moves where it
comes closer to that mean, so the sum never grows, whatever the alignment of two does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.maps import AxisMap, applied
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Match = Callable[[State, State, int], Sequence[AxisMap]]
"""(reference, network, which of the networks it is) -> maps that bring the network to the reference."""

_GAIN = 1e-9  # a share of the squared norm of the mean: less is rounding


class Several(NamedTuple):
    """What was found.

    Args:
        maps: of each network, in the order in which they are to be applied; none where it stays as it is.
        spreads: sum of || W_i - mean ||^2 as a share of the sum of || W_i ||^2, at the beginning of every round and at
            the end.
    """

    maps: tuple[tuple[AxisMap, ...], ...]
    spreads: tuple[float, ...]


def in_common(networks: Sequence[State], match: Match, *, seed: int = 0, rounds: int = 20) -> Several:
    """Align all networks to each other, beginning with each to the first, in an order by the seed.

    >>> one, other = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([2.1, 1.0])}
    >>> from ligate.align.maps import Group, Place, reordered
    >>> group = Group("hidden", 2, (Place("w", 0, (2,), 0),))
    >>> found = in_common([one, other], lambda to, it, _: [reordered(group, it["w"].argsort()[to["w"].argsort()])])
    >>> applied(other, found.maps[1])["w"]
    tensor([1.0000, 2.1000])

    Args:
        match: given every network as it was, never as it has been moved. For networks of other widths than the first
            it may bring them to the widths of the reference, which are the first one's.
        rounds: at most so many over all networks.

    Raises:
        InputError: fewer than two networks, or `match` leaves other shapes than those of the reference.
    """
    if len(networks) < 2:
        raise InputError(
            f"{len(networks)} given", where="networks to align", hint="two or more have common coordinates."
        )
    moved: list[State] = [networks[0]]
    maps: list[tuple[AxisMap, ...]] = [()]
    for number, network in enumerate(networks[1:], 1):
        maps.append(tuple(match(networks[0], network, number)))
        moved.append(_moved(network, maps[-1], networks[0], number))
    generator = torch.Generator().manual_seed(seed)
    spreads = [_spread(moved)]
    for _ in range(rounds if len(networks) > 2 else 0):
        still = True
        for number in torch.randperm(len(networks), generator=generator).tolist():
            mean = mean_of([each for other, each in enumerate(moved) if other != number])
            tried = tuple(match(mean, networks[number], number))
            there = _moved(networks[number], tried, mean, number)
            if _apart(mean, there) < _apart(mean, moved[number]) - _GAIN * _square(mean):
                maps[number], moved[number], still = tried, there, False
        spreads.append(_spread(moved))
        if still:
            break
    return Several(tuple(maps), tuple(spreads))


def mean_of(networks: Sequence[State]) -> dict[str, Tensor]:
    """In float64, and of the types of the first; what is no floating point number is the first one's."""
    return {
        name: torch.stack([each[name].double() for each in networks]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in networks[0].items()
    }


def _moved(network: State, maps: Sequence[AxisMap], like: State, number: int) -> State:
    found = applied(network, maps)
    for name, value in like.items():
        if name not in found or found[name].shape != value.shape:
            shape = list(found[name].shape) if name in found else "missing"
            raise InputError(
                f"is {shape} after alignment and {list(value.shape)} in the reference",
                where=f"tensor {name} of network {number}",
                hint="align networks of other widths by optimal transport, to a first one that has the widths wanted.",
            )
    return found


def _apart(one: State, other: State) -> float:
    return sum(
        float((value.double() - other[name].double()).square().sum())
        for name, value in one.items()
        if value.is_floating_point()
    )


def _square(network: State) -> float:
    return sum(float(value.double().square().sum()) for value in network.values() if value.is_floating_point())


def _spread(networks: Sequence[State]) -> float:
    mean = mean_of(networks)
    return sum(_apart(mean, each) for each in networks) / (sum(map(_square, networks)) or 1)
