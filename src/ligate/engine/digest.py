"""Digests of tensors: BLAKE3 of each segment's bytes, and BLAKE3 of those; independent of how files are sharded."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3


def hasher() -> blake3:
    return blake3()


def of_tensor(segments: Iterable[bytes]) -> str:
    """Digest of a tensor from the digests of its segments, in order."""
    return blake3(b"".join(segments)).hexdigest(length=16)


def of_segment(state: blake3) -> bytes:
    return state.digest(length=16)
