"""Handwritten digits, 8 x 8 pixels, that come with scikit-learn: 1797 images, in one fixed split.

The Optical Recognition of Handwritten Digits data set of the UCI repository. Who wrote which digit is not told, so the
split is by image; what is made of one image stays in its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ligate.bench.kept import digest_of
from ligate.core.errors import InputError

Part = Literal["train", "validation", "test"]

CLASSES = 10
_BRIGHTEST = 16.0
_VALIDATION, _TEST = 200, 500


@dataclass(frozen=True)
class Digits:
    """Images with the digit that each shows, and their numbers in the data set."""

    images: Tensor  # [N, 8, 8] float32, 0 to 1
    labels: Tensor  # [N] int64
    numbers: Tensor  # [N] int64

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, chosen: Tensor) -> Digits:
        return Digits(self.images[chosen], self.labels[chosen], self.numbers[chosen])


@cache
def digits() -> Mapping[Part, Digits]:
    """Raises InputError where scikit-learn is missing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "the digits come with scikit-learn, which is not installed here",
            where="bench",
            hint="pip install 'ligate[bench]'",
        ) from error
    pixels, answers = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).unflatten(1, (8, 8)) / _BRIGHTEST
    labels = torch.tensor(answers, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    everything = Digits(images, labels, torch.arange(len(labels)))
    test, validation, train = order.split([_TEST, _VALIDATION, len(order) - _TEST - _VALIDATION])
    return {"train": everything.at(train), "validation": everything.at(validation), "test": everything.at(test)}


@cache
def digest() -> str:
    """Of all images, labels and the split."""
    parts = [part for each in digits().values() for part in (each.images, each.labels, each.numbers)]
    return digest_of(part.numpy().tobytes() for part in parts)
