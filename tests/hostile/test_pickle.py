"""Torch checkpoints that want to run code, lie about their sizes or are broken: one error each, nothing happens."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from ligate.core.errors import InputError
from ligate.io.pickle import open_pickle

TENSORS = {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}


class Evil:
    """Writes a file when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


class Words:
    """Pickles as a call of any name with any arguments."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.parts = function, arguments, state

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_pickle(path, "a")
    assert str(path) in str(caught.value)


def stored_zip(path: Path, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return path


def records_of(value: object) -> dict[str, bytes]:
    file = io.BytesIO()
    torch.save(value, file)
    with zipfile.ZipFile(file) as archive:
        return {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}


def with_program(path: Path, program: bytes, numbers: bytes = b"\0" * 48) -> Path:
    return stored_zip(path, {"data.pkl": program, "data/0": numbers, "version": b"3\n"})


def tensor_program(
    *,
    offset: str = "I0\n",
    shape: str = "(I3\nI4\nt",
    strides: str = "(I4\nI1\nt",
    numel: str = "I12\n",
    key: str = "0",
) -> bytes:
    """A state dict with one tensor `w`, written out so that any number in it can be a lie."""
    storage = f"(Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\n{numel}tQ"
    call = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}{shape}{strides}I00\nccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}Vw\n" + call.encode() + b"s."


def test_the_written_out_program_is_read_when_it_is_honest(tmp_path):
    path = with_program(tmp_path / "a.pt", tensor_program(), torch.arange(12.0).numpy().tobytes())
    assert open_pickle(path, "a").headers()["w"].shape == (3, 4)


@pytest.mark.parametrize("inside", ["value", "key_beside", "nested"])
def test_code_is_never_run(tmp_path, inside):
    mark = tmp_path / "was run"
    evil = Evil(mark)
    value = {
        "value": {"w": torch.ones(2), "x": evil},
        "key_beside": {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": evil},
        "nested": {"w": torch.ones(2), "x": [{"y": (evil,)}]},
    }[inside]
    torch.save(value, tmp_path / "a.bin")
    refused(tmp_path / "a.bin", r"`posix.mkdir`, which could run code")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.serialization", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch._utils", "_rebuild_qtensor"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "OrderedDict\0"),
        ("ligate.io.pickle_words", "known_name"),
        ("__main__", "Net"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("spelling", ["GLOBAL", "STACK_GLOBAL"])
def test_names_beyond_the_few_of_plain_tensors_are_refused(tmp_path, module, name, spelling):
    if spelling == "GLOBAL":
        program = f"c{module}\n{name}\n".encode()
    else:
        words = (part.encode() for part in (module, name))
        program = b"".join(b"\x8c" + bytes([len(word)]) + word for word in words) + b"\x93"
    refused(with_program(tmp_path / "a.pt", b"\x80\x04" + program + b")R."), r"`.*`, which could run code")


def test_a_quantised_storage_is_refused_by_name(tmp_path):
    refused(with_program(tmp_path / "a.pt", b"\x80\x02ctorch\nQInt8Storage\n."), "`torch.QInt8Storage`")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"\x80\x02(i__main__\nNet\n.", "instruction INST"),
        (b"\x80\x02(ccollections\nOrderedDict\no.", "instruction OBJ"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "instruction NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02P0\n.", "instruction PERSID"),
    ],
)
def test_instructions_that_make_objects_are_refused(tmp_path, program, words):
    refused(with_program(tmp_path / "a.pt", program), words)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02}",
        b"\x80\x02}s.",
        b"\x80\x02t.",
        b"\x80\x02}Vw\n.",
        b"\x80\x02h\x05.",
        b"\x80\x02R.",
        b"\x80\x02I1\nI2\nR.",
        b"\x80\x02ccollections\nOrderedDict\nI5\n\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n]b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI-1\ntQ.",
        b"\x80\x02(Vother\nctorch\nFloatStorage\nV0\nVcpu\nI1\ntQ.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02\x8a\xff\x01.",
        b"\x80\x02I" + b"9" * 10_000 + b"\n.",
        b"\x80\x02}((Va\nVb\nt\x85I1\ns.",
        b"\xff\xfe\xfd",
        bytes(range(127, 255)),
    ],
)
def test_broken_descriptions_are_errors(tmp_path, program):
    refused(with_program(tmp_path / "a.pt", program), "damaged|no end|instruction|holds|names")


def test_keys_that_take_forever_to_look_up_are_refused(tmp_path):
    nested = b")" + b"0h\x00h\x00\x86q\x00" * 200  # each a pair of the one before
    refused(with_program(tmp_path / "a.pt", b"\x80\x02)q\x00" + nested + b"0}h\x00I1\ns."), "no plain value")


def test_a_memo_index_of_two_billion_takes_no_memory(tmp_path):
    program = tensor_program().replace(b"}Vw", b"}r\xff\xff\xff\x7fVw")
    assert list(open_pickle(with_program(tmp_path / "a.pt", program), "a").headers()) == ["w"]


def test_a_dictionary_that_holds_itself_is_refused(tmp_path):
    refused(with_program(tmp_path / "a.pt", b"\x80\x02}q\x00Vmodel\nh\x00s."), "no tensors")


@pytest.mark.parametrize(
    ("lies", "words"),
    [
        ({"shape": "(I4\nI4\nt"}, "reaches beyond its storage"),
        ({"offset": "I1\n"}, "reaches beyond its storage"),
        ({"strides": "(I5\nI1\nt"}, "reaches beyond its storage"),
        ({"shape": f"(I{1 << 61}\nI4\nt", "strides": "(I0\nI0\nt"}, "absurd shape"),
        ({"shape": "(" + "I1\n" * 40 + "t", "strides": "(" + "I1\n" * 40 + "t"}, "absurd shape"),
        ({"numel": "I13\n"}, "its record has 48"),
        ({"numel": f"I{1 << 62}\n"}, "its record has 48"),
        ({"key": "1"}, "no record"),
        ({"key": "../data.pkl"}, "no record"),
        ({"shape": "(I-3\nI4\nt"}, "no whole numbers"),
        ({"offset": "I-1\n"}, "no storage"),
        ({"strides": "(I4\nI-1\nt"}, "no whole numbers"),
        ({"strides": "(I1\nt"}, "no whole numbers"),
        ({"shape": "(F3.0\nI4\nt"}, "no whole numbers"),
        ({"shape": f"(I{1 << 70}\nI4\nt"}, "no whole numbers"),
    ],
)
def test_lies_about_shape_and_place_are_found_before_anything_is_read(tmp_path, lies, words):
    refused(with_program(tmp_path / "a.pt", tensor_program(**lies)), words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"w": torch.ones(2), "epoch": 3}, "`epoch` is a number"),
        ({"w": torch.ones(2), "extra": None}, "`extra` is nothing"),
        ({"w": torch.ones(2), "more": [torch.ones(2)]}, "`more` is a list"),
        ({"w": torch.ones(2), "kept": {1}}, "`kept` is a set"),
        ({1: torch.ones(2)}, "names a tensor 1"),
        ({"state_dict": {"w": torch.ones(1)}, "model": {"w": torch.ones(1)}}, "several sets.*`state_dict` and `model`"),
        ({"state_dict": {"w": torch.ones(1)}, "state_dict_ema": {"w": torch.ones(1)}}, "several sets"),
        ({"model": {"w": torch.ones(1)}, "v": torch.ones(1)}, "both in `model` and beside it"),
        ({"generator": {"w": torch.ones(1)}}, "there are some in `generator`"),
        ({"model": {"state_dict": {"w": torch.ones(1)}}}, "no tensors"),
        ({"lr": 0.1}, "no tensors"),
        ({}, "no tensors"),
        (torch.ones(2), "a single tensor"),
        ([torch.ones(2)], "a list"),
        ({"w": torch.zeros(2, dtype=torch.complex64).conj()}, "stored conj"),
        ({"w": torch.zeros(2, dtype=torch.complex128)}, "ComplexDoubleStorage"),
        ({"w": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor"),
        (torch.nn.Linear(1, 1), "Linear"),
    ],
)
def test_what_is_no_plain_state_dict_is_refused_by_name(tmp_path, value, words):
    torch.save(value, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", words)


def test_the_same_name_twice_is_refused(tmp_path):
    program = tensor_program()
    refused(with_program(tmp_path / "a.pt", program[:-1] + program[3:]), "'w' twice")


def test_older_formats_are_refused_with_a_way_out(tmp_path):
    legacy, bare, tar = tmp_path / "legacy.bin", tmp_path / "bare.bin", tmp_path / "tar.bin"
    torch.save(TENSORS, legacy, _use_new_zipfile_serialization=False)
    bare.write_bytes(pickle.dumps(OrderedDict(w=1)))
    with tarfile.open(tar, "w") as archive:
        archive.add(bare, "storages")
    for path, words in ((legacy, "before 1.6"), (bare, "bare pickle"), (tar, "tar archive")):
        refused(path, words)
        with pytest.raises(InputError, match=r"safetensors\.torch\.save_file"):
            open_pickle(path, "a")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "TorchScript")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no torch checkpoint"),
        (b"hello", "no torch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"PK\x03\x04", "list of records"),
        (b"PK\x03\x04" + b"\0" * 5000, "list of records"),
    ],
)
def test_files_of_another_kind_are_told_apart(tmp_path, content, words):
    (tmp_path / "a.bin").write_bytes(content)
    refused(tmp_path / "a.bin", words)


def test_folders_and_pipes_are_refused_without_waiting(tmp_path):
    (tmp_path / "folder.bin").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    refused(tmp_path / "folder.bin", "folder")
    refused(tmp_path / "pipe.bin", "pipe")
    refused(tmp_path / "missing.bin", "no such file")


def test_a_cut_file_is_an_error_wherever_it_is_cut(tmp_path):
    torch.save(TENSORS, tmp_path / "a.bin")
    content = (tmp_path / "a.bin").read_bytes()
    for length in range(0, len(content), 37):
        (tmp_path / "cut.bin").write_bytes(content[:length])
        with pytest.raises(InputError):
            open_pickle(tmp_path / "cut.bin", "a")


def test_any_flipped_byte_is_an_error_or_leaves_readable_tensors(tmp_path):
    torch.save(TENSORS, tmp_path / "a.bin")
    content = bytearray((tmp_path / "a.bin").read_bytes())
    for place in range(0, len(content), 5):
        damaged = content[:]
        damaged[place] ^= 0xFF
        (tmp_path / "b.bin").write_bytes(damaged)
        try:
            source = open_pickle(tmp_path / "b.bin", "a")
        except InputError:
            continue
        for name, header in source.headers().items():
            source.read_into(name, 0, memoryview(bytearray(header.nbytes)))
        source.close()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compressed_records_are_refused(tmp_path, compression):
    refused(stored_zip(tmp_path / "a.pt", records_of(TENSORS), compression), "compressed")


def test_big_endian_numbers_are_refused(tmp_path):
    refused(stored_zip(tmp_path / "a.pt", {**records_of(TENSORS), "byteorder": b"big"}), "big-endian")


def test_a_file_from_before_byte_orders_were_written_is_little_endian(tmp_path):
    records = records_of(TENSORS)
    del records["byteorder"]
    assert list(open_pickle(stored_zip(tmp_path / "a.pt", records), "a").headers()) == ["a", "b"]


def test_two_checkpoints_in_one_archive_are_refused(tmp_path):
    records = records_of(TENSORS)
    refused(stored_zip(tmp_path / "a.pt", {**records, "other/data.pkl": records["data.pkl"]}), "more than one")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_records_of_one_name_are_refused(tmp_path):
    path = stored_zip(tmp_path / "a.pt", records_of(TENSORS))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", b"\1" * 48)
    refused(path, "two records under one name")


def listed_at(content: bytes, name: str) -> int:
    """Where the central directory speaks of a record."""
    place = content.index(b"PK\x01\x02")
    while content[place + 46 :][: len(name)] != name.encode():
        place = content.index(b"PK\x01\x02", place + 1)
    return place


@pytest.mark.parametrize(
    ("field", "kind", "value", "words"),
    [
        (42, "<I", 0, "not where the list says|overlap"),
        (42, "<I", 0x7FFFFFFF, "outside the file|not where"),
        (24, "<I", 0x7FFFFFFF, "not where the list says"),
        (10, "<H", 8, "compressed"),
        (8, "<H", 1, "encrypted"),
    ],
)
def test_a_list_of_records_that_lies_is_an_error(tmp_path, field, kind, value, words):
    path = stored_zip(tmp_path / "a.pt", records_of(TENSORS))
    content = bytearray(path.read_bytes())
    struct.pack_into(kind, content, listed_at(content, "archive/data/0") + field, value)
    path.write_bytes(content)
    refused(path, words)


def test_records_that_share_bytes_are_refused(tmp_path):
    """Both entries of the list lead to one local header, as in archives that unpack to more than they hold."""
    same = torch.zeros(2048)
    path = stored_zip(tmp_path / "a.pt", records_of({"a": same, "b": same.clone()}))
    content = bytearray(path.read_bytes())
    first, second = (listed_at(content, f"archive/data/{key}") for key in (0, 1))
    inner = struct.unpack_from("<I", content, first + 42)[0]
    begin = inner + 30 + len("archive/data/0") + 64
    local = struct.unpack_from("<I", content, second + 42)[0]
    content[begin : begin + 44] = content[local : local + 44]  # a local header inside the numbers of data/0
    struct.pack_into("<I", content, second + 42, begin)
    path.write_bytes(content)
    refused(path, "overlap")


def test_a_file_that_shrinks_later_is_an_error_that_names_the_tensor(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(TENSORS, path)
    source = open_pickle(path, "mine")
    os.truncate(path, 100)
    with pytest.raises(InputError, match="tensor a, model mine"):
        source.read_into("a", 0, memoryview(bytearray(48)))
