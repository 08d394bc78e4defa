"""Safetensors files that are broken or meant to harm: each ends in one readable error, and nothing else happens."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ligate.core.errors import InputError
from ligate.io import open_source

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(table: Any, data: int = 8) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def tensor(**changes: Any) -> bytes:
    return file_of({"t": GOOD | changes})


def two(first: tuple[int, int], second: tuple[int, int], data: int) -> bytes:
    table = {
        name: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        for name, (begin, end) in (("one", first), ("two", second))
    }
    return file_of(table, data)


BROKEN = {
    "no byte at all": (b"", "too few"),
    "not even a length": (b"\x08\0\0", "too few"),
    "a length and nothing more": (struct.pack("<Q", 8), "claims 8 bytes"),
    "a header of 2^64 bytes": (b"\xff" * 64, "claims to be 18,446,744,073,709,551,615 bytes"),
    "a header longer than the file": (struct.pack("<Q", 1000) + b"{}", "claims 1,000 bytes"),
    "a header of length zero": (struct.pack("<Q", 0), "does not start"),
    "a web page": (b"<!DOCTYPE html><html>not found</html>" * 40, "claims to be"),
    "a pointer to large storage": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "claims to be",
    ),
    "not JSON": (file_of(b"{nonsense}"), "not valid JSON"),
    "JSON cut short": (file_of(b'{"t": {"dtype": "F32"'), "not valid JSON"),
    "JSON with something behind": (file_of(b'{} {"x": 1}', 0), "not valid JSON"),
    "JSON behind a blank": (file_of(b' {"t": {}}'), "does not start"),
    "a list": (file_of([GOOD]), "does not start"),
    "not UTF-8": (file_of(b'{"\xff\xfe": 1}'), "not valid JSON"),
    "half a character": (file_of(rb'{"\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'), "Unicode"),
    "a tensor twice": (file_of(b'{"t": {}, "t": {}}'), "'t' stands there twice"),
    "a key of a tensor twice": (file_of(b'{"t": {"dtype": "F32", "dtype": "I8"}}'), "'dtype' stands there twice"),
    "nested without end": (file_of(b'{"a":' * 100_000), "nested too deeply"),
    "a number of a million digits": (file_of(b'{"t": {"shape": [' + b"9" * 10**6 + b"]}}"), "not valid JSON"),
    "metadata that is no text": (file_of({"__metadata__": {"a": 1}}, 0), "__metadata__"),
    "metadata that is a list": (file_of({"__metadata__": []}, 0), "__metadata__"),
    "a tensor that is a number": (file_of({"t": 3}), "'t' needs"),
    "a tensor without shape": (file_of({"t": {"dtype": "F32", "data_offsets": [0, 8]}}), "'t' needs"),
    "an unknown dtype": (tensor(dtype="F4"), r"'t' has the dtype 'F4'.*\n.*convert"),
    "a dtype that is a list": (tensor(dtype=["F32"]), "'t' has the dtype"),
    "a negative size": (tensor(shape=[-2]), r"'t' has the shape \[-2\]"),
    "two negative sizes": (tensor(shape=[-2, -1]), "'t' has the shape"),
    "a size that is a fraction": (tensor(shape=[2.0]), "'t' has the shape"),
    "a size that is true": (tensor(shape=[True, 2]), "'t' has the shape"),
    "a shape that is text": (tensor(shape="2"), "'t' has the shape"),
    "a size beyond all memory": (tensor(shape=[2**62]), "does not fill"),
    "sizes whose product wraps to the right one": (tensor(shape=[2**32, 2**32 + 1, 2]), "does not fill"),
    "a size of more than 64 bits": (tensor(shape=[2**64 + 2]), "'t' has the shape"),
    "a thousand dimensions": (tensor(shape=[1] * 1000), "'t' has the shape"),
    "a shape larger than the bytes": (tensor(shape=[3]), r"'t' is F32 \[3\], which does not fill its 8 bytes"),
    "a dtype smaller than the bytes": (tensor(dtype="BF16"), "does not fill"),
    "offsets that run backwards": (tensor(data_offsets=[8, 0]), "data_offsets"),
    "a negative offset": (tensor(data_offsets=[-8, 0]), "data_offsets"),
    "three offsets": (tensor(data_offsets=[0, 8, 8]), "needs"),
    "bytes behind the end": (file_of({"t": GOOD}, 7), "cut short"),
    "bytes far behind the end": (tensor(shape=[2**40], data_offsets=[0, 2**42]), "cut short"),
    "bytes that nothing describes": (file_of({"t": GOOD}, 9), "1 bytes follow the last tensor"),
    "a gap before the first tensor": (tensor(data_offsets=[4, 12]), "'t' leaves a gap of 4 bytes after the start"),
    "a gap between two": (two((0, 4), (6, 8), 8), "'two' leaves a gap of 2 bytes after 'one'"),
    "an overlap": (two((0, 5), (3, 8), 8), "'two' overlaps 'one' by 2 bytes"),
    "the same bytes twice": (two((0, 8), (0, 8), 8), "overlaps"),
    "a tensor inside another": (two((0, 8), (2, 4), 8), "'two' overlaps 'one'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(tmp_path, name):
    content, told = BROKEN[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for place in (path, tmp_path):
        with pytest.raises(InputError, match=told) as caught:
            open_source(str(place), label="m")
        message = str(caught.value)
        assert str(path) in message and caught.value.hint and len(message) < 1000
        assert caught.value.exit_code == 3
    assert path.read_bytes() == content


def test_names_cannot_play_with_the_terminal(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(file_of({"\x1b[2Jt\n": GOOD | {"shape": [3]}}))
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "a.safetensors"), label="m")
    assert "\x1b" not in str(caught.value)


def test_a_claim_of_much_memory_costs_none(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 99_999_999) + b"{}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError):
        open_source(str(tmp_path / "a.safetensors"), label="m")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KiB


# A file in whose place there is something else.


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (make_pipe, "is a pipe"),
        (Path.mkdir, "is a folder|holds no weights"),
        (make_loop, "leads back to itself|no such file"),
        (make_dangling, "no such file"),
        (make_device, "no regular file"),
    ],
)
def test_what_is_no_file_is_refused_before_it_can_block(tmp_path, make: Callable[[Path], None], told):
    make(tmp_path / "model.safetensors")
    for place in (tmp_path / "model.safetensors", tmp_path):
        with pytest.raises(InputError, match=told):
            open_source(str(place), label="m")
