"""Counter-based randomness: the same numbers whenever, wherever and in whatever order they are asked for."""

from __future__ import annotations

import hashlib

import numpy as np

_PER_COUNT = 8  # one Philox count yields four 64-bit words, that is eight float32 numbers


def uniform(seed: int, tensor: str, model: str, step: int, start: int, size: int) -> np.ndarray:
    """Elements [start, start + size) of one endless row of uniform float32 numbers in [0, 1).

    Each (seed, tensor, model, step) has a row of its own; `step` tells the draws of one rule apart. Generator: Philox
    4x64 with the element index as counter, so that a slice can start anywhere.
    """
    words = f"{seed}/{model}/{step}/{tensor}"
    key = int.from_bytes(hashlib.blake2s(words.encode(), digest_size=16).digest(), "little")
    count, head = divmod(start, _PER_COUNT)
    numbers = np.random.Generator(np.random.Philox(key=key, counter=count)).random(head + size, dtype=np.float32)
    return numbers[head:]
