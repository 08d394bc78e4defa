"""A matrix of correlations as a picture: one pixel for each, blue above 0 and orange below, the stronger the denser."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

_ABOVE, _BELOW = (39, 103, 216), (194, 87, 12)
_LEVELS = 100  # on each side of 0


def picture(percent: Sequence[Sequence[int]]) -> str:
    """A PNG as a `data:` address. Weak ones are see-through: it suits any background."""
    return "data:image/png;base64," + base64.b64encode(png(percent)).decode("ascii")


def png(percent: Sequence[Sequence[int]]) -> bytes:
    """One byte per pixel, which looks up colour and density in a table of 201 entries."""
    height, width = len(percent), len(percent[0]) if percent else 0
    lines = b"".join(b"\0" + bytes(max(-_LEVELS, min(_LEVELS, value)) + _LEVELS for value in row) for row in percent)
    colours = b"".join(bytes(_BELOW if step < _LEVELS else _ABOVE) for step in range(2 * _LEVELS + 1))
    densities = bytes(round(255 * abs(step - _LEVELS) / _LEVELS) for step in range(2 * _LEVELS + 1))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours),
        (b"tRNS", densities),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
