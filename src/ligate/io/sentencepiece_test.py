from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ligate.core.errors import InputError

from .sentencepiece import read_pieces


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def piece(text: str, score: float = -1.0, kind: int = 1) -> bytes:
    """As sentencepiece writes it: text, score as a float, kind as a number."""
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([3 << 3, kind]))


def written(place: Path, content: bytes) -> Path:
    path = place / "tokenizer.model"
    path.write_bytes(content)
    return path


def test_pieces_are_numbered_by_their_place_and_other_fields_do_not_matter(tmp_path):
    trainer = field(2, b"\x0a\x05input")
    content = piece("<unk>", 0.0, 2) + piece("▁the") + trainer + piece("é")
    assert read_pieces(written(tmp_path, content)) == ["<unk>", "▁the", "é"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"bytes",
        piece("the")[:-3],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x01",
        b"\x0f",
        b"\x0a\x02\x12\x00",
    ],
)
def test_what_is_no_such_file_is_refused_by_name(tmp_path, content):
    with pytest.raises(InputError, match="no SentencePiece model") as caught:
        read_pieces(written(tmp_path, content))
    assert "tokenizer.model" in str(caught.value)
