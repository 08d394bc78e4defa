"""Whether what is called a symmetry is one: random members of each group are applied, and the function compared.

Everything is computed in float64, also what a model's own code asks to be computed in float32 (norms, softmax,
routers), so that a difference is no rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError

from .alignment import Alignment, Made
from .architecture import Architecture, hushed
from .finding import Network
from .members import random_member
from .stored import read_tensor
from .view import in_coordinates

if TYPE_CHECKING:
    from torch import Tensor

    from .maps import AxisMap

TOLERANCE = 1e-9
"""Of the largest difference between outputs, as a share of the largest output."""


class Tried(NamedTuple):
    """A group, and how far the outputs moved when a random member of it was applied, as a share of the largest."""

    name: str
    kind: str
    units: int
    copies: int
    difference: float

    @property
    def holds(self) -> bool:
        return self.difference <= TOLERANCE  # False for NaN


def tried(network: Network, architecture: Architecture, *, seed: int = 0) -> Iterator[Tried]:
    """Each group alone, on the model's own weights and random inputs.

    Raises:
        InputError: the network cannot be run with these weights.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    own = {name: read_tensor(network.source, name) for name in network.source.headers()}
    runs = _Runs(network, architecture)
    before = runs.outputs(own)
    largest = max((float(value.abs().max()) for value in before if value.numel()), default=0.0) or 1.0
    for group in network.groups:
        moved = _moved(network, own, random_member(group, own, draw))
        apart = [_apart(x, y) for x, y in zip(before, runs.outputs(moved), strict=True)]
        yield Tried(group.name, group.kind, group.size, group.copies, max(apart, default=0.0) / largest)


class _Runs:
    """The network in float64, which can be given one set of weights after another."""

    def __init__(self, network: Network, architecture: Architecture) -> None:
        self._model = architecture.model.double().eval()
        self._inputs = [_wide(value) for value in architecture.inputs]
        self._options = {name: _wide(value) for name, value in architecture.options.items()}
        self._names = {name: network.names.place(name) or name for name in self._model.state_dict()}
        self._label = network.stored.label

    def outputs(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """All tensors of floats that the network returns."""
        import torch

        from .wide import Wide

        state = {name: weights[place].double() for name, place in self._names.items() if place in weights}
        try:
            self._model.load_state_dict(state, strict=False)
            with hushed(), torch.no_grad(), Wide():
                said = self._model(*self._inputs, **self._options)
        except Exception as error:  # whatever a model's own code raises
            told = str(error).strip().partition("\n")[0]
            text = f"the network cannot be run with these weights: {type(error).__name__}: {told}"
            raise InputError(text, where=f"model {self._label}") from error
        return [value for value in tensors_in(said) if value.is_floating_point()]


def _moved(network: Network, own: Mapping[str, Tensor], member: AxisMap) -> dict[str, Tensor]:
    from ligate.io.memory import MemorySource

    wide = {name: value.double() if value.is_floating_point() else value for name, value in own.items()}
    view = in_coordinates(MemorySource(network.stored.label, wide), Alignment((member,), Made("random")))
    return {name: read_tensor(view, name) for name in view.headers()}


def tensors_in(said: Any) -> Iterator[Tensor]:
    """Every tensor of what a network says, in order."""
    import torch

    if isinstance(said, torch.Tensor):
        yield said
    elif isinstance(said, Mapping):
        for value in said.values():
            yield from tensors_in(value)
    elif isinstance(said, (list, tuple)):
        for value in said:
            yield from tensors_in(value)


def _wide(value: Any) -> Any:
    import torch

    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _apart(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max()) if x.numel() else 0.0
