"""Counter-based randomness: the same numbers whenever, wherever and in whatever order they are asked for."""

from __future__ import annotations

import hashlib

import numpy as np


def uniform(seed: int, tensor: str, model: int, step: int, block: int, size: int) -> np.ndarray:
    """Uniform float32 numbers in [0, 1) for one block of one tensor of one model in one step of a rule."""
    words = f"{seed}/{model}/{step}/{tensor}"
    key = int.from_bytes(hashlib.blake2s(words.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key, counter=block << 64)).random(size, dtype=np.float32)
