from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ligate.core.errors import InputError, StorageError
from ligate.core.tensors import Header, dtype_names, torch_dtype
from ligate.io.ranges import open_file
from ligate.io.safetensors import FileHeader, build_header, read_header


def header_of(path: Path) -> FileHeader:
    with open_file(path) as (fd, size):
        return read_header(fd, size, path)


def complaint(path: Path) -> InputError | None:
    try:
        header_of(path)
    except InputError as error:
        return error
    return None


def every_dtype() -> dict[str, torch.Tensor]:
    tensors = {name: torch.arange(6).reshape(2, 3).to(torch_dtype(name)) for name in dtype_names() if name[0] != "U"}
    tensors |= {name: torch.arange(6).reshape(2, 3).to(torch_dtype(name)) for name in ("U8", "U16", "U32", "U64")}
    return tensors | {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "empty_too": torch.zeros(3, 0)}


def test_a_header_worked_by_hand():
    text, (entry,) = build_header({"w": Header("BF16", (2, 3))}, {"format": "pt"})
    length = struct.unpack("<Q", text[:8])[0]
    assert len(text) == 8 + length == 128  # 8 + 81 bytes of JSON, filled up to a multiple of 64
    assert text[8:].rstrip(b" ") == (
        b'{"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    )
    assert entry == ("w", Header("BF16", (2, 3)), 128, 12)


def test_files_of_the_reference_library_are_read(tmp_path):
    tensors = every_dtype()
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt", "who": "ü"})
    found = header_of(tmp_path / "x.safetensors")
    assert found.metadata == {"format": "pt", "who": "ü"}
    assert {entry.name for entry in found.entries} == set(tensors)
    raw = (tmp_path / "x.safetensors").read_bytes()
    for name, header, begin, nbytes in found.entries:
        assert torch_dtype(header.dtype) == tensors[name].dtype and header.shape == tuple(tensors[name].shape)
        stored = tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert raw[begin : begin + nbytes] == stored


def test_files_we_write_are_read_by_the_reference_library(tmp_path):
    tensors = every_dtype()
    headers = {name: Header(dtype_of(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}
    text, entries = build_header(headers, {"format": "pt"})
    body = b"".join(tensors[entry.name].reshape(-1).view(torch.uint8).numpy().tobytes() for entry in entries)
    (tmp_path / "x.safetensors").write_bytes(text + body)
    loaded = load_file(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def dtype_of(tensor: torch.Tensor) -> str:
    return next(name for name in dtype_names() if torch_dtype(name) == tensor.dtype)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
headers = st.tuples(st.sampled_from(dtype_names()), shapes).map(lambda parts: Header(*parts))
tables = st.dictionaries(names, headers, max_size=8)


@settings(max_examples=60, deadline=None)
@given(tables, st.dictionaries(names, names, max_size=3))
def test_what_is_built_is_read_again(tmp_path_factory, headers, metadata):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    text, entries = build_header(headers, metadata)
    path.write_bytes(text + bytes(sum(entry.nbytes for entry in entries)))
    found = header_of(path)
    assert len(text) % 64 == 0 and found.metadata == metadata
    assert {entry.name: entry for entry in found.entries} == {entry.name: entry for entry in entries}
    with safe_open(path, "np") as file:
        assert set(file.keys()) == set(headers)


VALID = build_header({"a": Header("F32", (2, 2)), "b": Header("I64", (3,))}, {"format": "pt"})[0] + bytes(40)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(VALID)))
def test_damage_is_an_input_error_that_names_the_file_and_nothing_else(tmp_path_factory, changes, length):
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    path.write_bytes(data[:length] if length % 3 else data)
    error = complaint(path)
    assert error is None or (str(path) in str(error) and error.hint)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "more"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.floats(),
            st.integers(),
            st.text(max_size=3),
            st.lists(st.one_of(st.integers(-1, 5), st.integers(), st.none(), st.booleans()), max_size=3),
            st.just({}),
        ),
    )
)
def test_a_table_of_any_nonsense_is_an_input_error(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    text = json.dumps({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | value}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    error = complaint(path)
    if error is None:
        with safe_open(path, "np") as file:  # what we accept the reference library accepts too
            assert list(file.keys()) == ["t"]


def test_the_name_that_the_format_reserves_is_refused():
    with pytest.raises(StorageError, match="__metadata__"):
        build_header({"__metadata__": Header("F32", ())}, {})


def test_twenty_thousand_tensors_are_read_in_well_under_a_second(tmp_path):
    headers = {f"layers.{i}.weight": Header("BF16", (2, 2)) for i in range(20_000)}
    text, entries = build_header(headers, {})
    (tmp_path / "x.safetensors").write_bytes(text + bytes(8 * len(entries)))
    before = os.times()
    found = header_of(tmp_path / "x.safetensors")
    after = os.times()
    assert len(found.entries) == 20_000
    assert after.user - before.user < 1
