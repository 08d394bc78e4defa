"""A module's weights as a function of the numbers that are learned: written in, and gradients carried back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ligate.core.errors import InputError

from .parametrisations import Numbers, Parametrisation
from .stored import stored

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = Mapping[str, "Tensor"]
"""Name -> tensor; may read from disk when asked."""


class Merge:
    """Holds nothing but the module: base and experts are asked for their tensors, one name after the other.

    Args:
        room: where the experts' deltas take no more bytes than this, they are made once and read from a temporary file.

    Raises:
        InputError: a model lacks a parameter of the module, or has it in another shape.
    """

    def __init__(
        self, module: nn.Module, base: Weights, experts: Sequence[Weights], by: Parametrisation, room: int = 0
    ) -> None:
        self._parameters = dict(module.named_parameters())
        self._base, self._experts, self._by = base, experts, by
        for index, weights in enumerate((base, *experts)):
            for name, one in self._parameters.items():
                if name not in weights or weights[name].shape != one.shape:
                    which = "the base" if index == 0 else f"expert {index}"
                    raise InputError(f"{which} has no tensor {name} of shape {list(one.shape)}", where=f"tensor {name}",
                                     hint="all models must have the module's parameters.")  # fmt: skip
        self._deltas = self._kept(room)

    def start(self) -> dict[str, Tensor]:
        """The numbers before anything is learned, which take gradients."""
        shapes = {name: one.shape for name, one in self._parameters.items()}
        numbers = self._by.start(shapes, len(self._experts))
        return {name: one.requires_grad_(True) for name, one in numbers.items()}

    def write(self, numbers: Numbers, step: int | None = None) -> None:
        """The merge of these numbers into the module, whose gradients are forgotten."""
        with torch.no_grad():
            for name, one, base, deltas in self._tensors():
                one.copy_(self._by.merged(name, base, deltas, numbers, step))
                one.grad = None

    def put(self, index: int | None) -> None:
        """The weights of one expert into the module, whose gradients are forgotten; with None those of the base."""
        weights = self._base if index is None else self._experts[index]
        with torch.no_grad():
            for name, one in self._parameters.items():
                one.copy_(weights[name])
                one.grad = None

    def carry(self, numbers: Numbers, step: int | None = None) -> None:
        """From the gradients of the weights to those of the numbers, which add up."""
        for name, one, base, deltas in self._tensors():
            if one.grad is None:
                continue
            merged = self._by.merged(name, base, deltas, numbers, step)
            if merged.requires_grad:  # else no number that is learned decides this tensor
                merged.backward(one.grad.to(base.dtype))

    def _tensors(self) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        for name, one in self._parameters.items():
            yield name, one, self._base[name].float(), self._deltas[name] if self._deltas else self._made(name)

    def _made(self, name: str) -> Tensor:
        """[K, *S] what the experts add to the base."""
        base = self._base[name].float()
        found = torch.empty(len(self._experts), *base.shape)
        for delta, each in zip(found, self._experts, strict=True):
            torch.sub(each[name].float(), base, out=delta)
        return found

    def _kept(self, room: int) -> dict[str, Tensor]:
        """All deltas, if they fit; else none, and they are made in every step."""
        if 4 * len(self._experts) * sum(one.numel() for one in self._parameters.values()) > room:
            return {}
        try:
            return stored((name, self._made(name)) for name in self._parameters)
        except OSError:  # no room for it after all
            return {}
