"""Counter-based randomness: the same numbers whenever, wherever and in whatever order they are asked for."""

from __future__ import annotations

import hashlib
import math

import numpy as np

NOISE_BITS = 24  # of each number
_PER_COUNT = 8  # one Philox count yields four 64-bit words, that is eight float32 numbers


def uniform(seed: int, tensor: str, model: str, step: int, start: int, size: int) -> np.ndarray:
    """Elements [start, start + size) of one endless row of uniform float32 numbers in [0, 1).

    Each (seed, tensor, model, step) has a row of its own; `step` tells the draws of one rule apart. Generator: Philox
    4x64 with the element index as counter, so that a slice can start anywhere.
    """
    count, head = divmod(start, _PER_COUNT)
    philox = np.random.Philox(key=key(seed, tensor, model, step), counter=count)
    return np.random.Generator(philox).random(head + size, dtype=np.float32)[head:]


def key(seed: int, tensor: str, model: str, step: int) -> int:
    """128 bits that tell one row of noise from another."""
    words = f"{seed}/{model}/{step}/{tensor}"
    return int.from_bytes(hashlib.blake2s(words.encode(), digest_size=16).digest(), "little")


def limit(share: float) -> int:
    """How many of the 2^24 numbers that can be drawn are below this share; whoever draws one of them survives."""
    return min(math.ceil(share * (1 << NOISE_BITS)), 1 << NOISE_BITS)
