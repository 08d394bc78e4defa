"""Does a network still compute what it did? Run with one set of weights and then with another, on the same inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ligate.align.architecture import Architecture, example, hushed
from ligate.align.check import tensors_in
from ligate.align.stored import Names, read_tensor
from ligate.core.errors import InputError
from ligate.core.tensors import Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_INPUTS = 4  # of networks of transformers; others have the ones that they came with
_COPIES = 3  # of the weights in float32 that are in memory at the worst
_SHARE = 0.8  # of the machine's memory


class Runs:
    """A network in float32 with room for weights.

    Raises:
        InputError: it cannot be run.
    """

    def __init__(self, architecture: Architecture, label: str) -> None:
        self._model = architecture.model.float().eval()
        self._asked = list(_asked(architecture))
        self._label = label

    def outputs(self, source: Source, names: Names, through: torch.dtype | None = None) -> list[Tensor]:
        """All tensors of floats that the network returns; the weights rounded to the type `through`, if given."""
        import torch

        held = source.headers()
        state: dict[str, Tensor] = {}
        for name in self._model.state_dict():
            place = names.place(name) or name
            if place in held:
                value = read_tensor(source, place)
                floats = value.is_floating_point()
                state[name] = value.to(through or value.dtype).float() if floats else value
        try:
            self._model.load_state_dict(state, strict=False)
            with hushed(), torch.inference_mode():
                said = [self._model(*inputs, **options) for inputs, options in self._asked]
        except Exception as error:  # whatever a model's own code raises
            told = str(error).strip().partition("\n")[0]
            text = f"the network cannot be run with these weights: {type(error).__name__}: {told}"
            raise InputError(text, where=f"model {self._label}") from error
        return [value.float() for value in tensors_in(said) if value.is_floating_point()]


def difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference between outputs as a share of the largest output of the first."""
    largest = max((float(value.abs().max()) for value in one if value.numel()), default=0.0) or 1.0
    apart = (float((x - y).abs().max()) if x.numel() else 0.0 for x, y in zip(one, other, strict=True))
    return max(apart, default=0.0) / largest


def fits(source: Source) -> bool:
    """Whether the memory of this machine holds the network some times over in float32."""
    numbers = sum(header.numel for header in source.headers().values())
    return 4 * _COPIES * numbers < _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _asked(architecture: Architecture) -> Iterator[tuple[Sequence[Any], Mapping[str, Any]]]:
    model: Any = architecture.model
    config = getattr(model, "config", None)
    if architecture.inputs or config is None:
        yield (
            _narrow(architecture.inputs),
            dict(zip(architecture.options, _narrow(architecture.options.values()), strict=True)),
        )
        return
    for seed in range(_INPUTS):
        yield (), example(model, config, seed=seed)


def _narrow(values: Any) -> list[Any]:
    import torch

    return [x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in values]
