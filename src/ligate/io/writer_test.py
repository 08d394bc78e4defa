from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from ligate.core.errors import StorageError
from ligate.core.tensors import Header
from ligate.io import open_source, ranges, writer
from ligate.io.folder import stems
from ligate.io.memory import MemorySource
from ligate.io.writer import FolderSink, lay_out

TENSORS = {
    "model.embed.weight": torch.randn(10, 4).bfloat16(),
    "model.norm.weight": torch.randn(4),
    "model.flag": torch.tensor([True, False, True]),
    "model.empty": torch.zeros(0, 2),
    "model.steps": torch.tensor(7),
    "lm_head.weight": torch.randn(10, 4).bfloat16(),
}
HEADERS = MemorySource("m", TENSORS).headers()


def write_all(sink: FolderSink, tensors: Mapping[str, torch.Tensor] = TENSORS, seed: int = 0) -> None:
    """Every element for itself, in an order of the seed."""
    source = MemorySource("m", tensors)
    places = [(name, start) for name, header in source.headers().items() for start in range(header.numel)]
    random.Random(seed).shuffle(places)
    for name, start in places:
        out = bytearray(tensors[name].element_size())
        source.read_into(name, start, memoryview(out))
        sink.write(name, start, memoryview(out))


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_one_shard_has_the_usual_name_and_no_index(tmp_path):
    sink = FolderSink(tmp_path / "o", HEADERS)
    write_all(sink)
    sink.finish()
    sink.close()
    assert os.listdir(tmp_path / "o") == ["model.safetensors"]
    assert same(loaded(tmp_path / "o"), TENSORS)
    with safe_open(tmp_path / "o" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_shards_are_cut_by_bytes_in_the_given_order_and_have_an_index(tmp_path):
    sink = FolderSink(tmp_path / "o", HEADERS, shard_bytes=100, metadata={"format": "pt", "x": "y"})
    write_all(sink)
    sink.finish()
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert sorted(os.listdir(tmp_path / "o")) == [*files, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "o" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 80 + 16 + 3 + 0 + 8 + 80}
    assert {name for name, file in index["weight_map"].items() if file == files[0]} == set(list(TENSORS)[:4])
    assert same(loaded(tmp_path / "o"), TENSORS)
    assert set(open_source(str(tmp_path / "o"), label="o").headers()) == set(TENSORS)


def test_transformers_loads_what_is_written(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        vocab_size=10,
        max_position_embeddings=4,
    )
    tensors = BertModel(config).state_dict()
    sink = FolderSink(tmp_path / "o", MemorySource("m", tensors).headers(), shard_bytes=500)
    write_all(sink, tensors)
    sink.finish()
    config.save_pretrained(tmp_path / "o")
    model, info = BertModel.from_pretrained(tmp_path / "o", output_loading_info=True)
    assert not any(info.values()) and same(model.state_dict(), tensors)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=12), st.integers(1, 60))
def test_no_shard_is_larger_than_asked_unless_a_single_tensor_is(sizes, limit):
    headers = {f"t{i}": Header("U8", (size,)) for i, size in enumerate(sizes)}
    shards = lay_out(headers, limit)
    assert [entry.name for shard in shards for entry in shard.entries] == list(headers)
    for shard, following in itertools.pairwise(shards):
        full = sum(entry.nbytes for entry in shard.entries)
        assert full <= limit or sum(entry.nbytes > 0 for entry in shard.entries) == 1
        assert full + following.entries[0].nbytes > limit


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["BOOL", "BF16", "F32", "I64"]), st.integers(0, 5)), max_size=9))
def test_every_tensor_starts_at_a_multiple_of_its_element_size(parts):
    headers = {f"t{i}": Header(dtype, (size,)) for i, (dtype, size) in enumerate(parts)}
    for shard in lay_out(headers, 10**6):
        assert shard.entries == () or min(entry.begin for entry in shard.entries) % 64 == 0
        for _, header, begin, _ in shard.entries:
            assert begin % (header.nbytes // header.numel if header.numel else 1) == 0


def test_bytes_do_not_depend_on_order_or_threads(tmp_path):
    for seed in (1, 2):
        sink = FolderSink(tmp_path / str(seed), HEADERS, shard_bytes=100)
        write_all(sink, seed=seed)
        sink.finish(fsync=False)
    sink = FolderSink(tmp_path / "threads", HEADERS, shard_bytes=100)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: write_all_of(sink, name), TENSORS))
    sink.finish(fsync=False)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "threads")


def write_all_of(sink: FolderSink, name: str) -> None:
    data = bytearray(HEADERS[name].nbytes)
    MemorySource("m", TENSORS).read_into(name, 0, memoryview(data))
    sink.write(name, 0, memoryview(data))


def test_what_was_written_is_read_back(tmp_path):
    sink = FolderSink(tmp_path / "o", HEADERS)
    sink.write("model.norm.weight", 1, memoryview(b"12345678"))
    out = bytearray(12)
    sink.read_back("model.norm.weight", 0, memoryview(out))
    assert out == b"\0\0\0\x0012345678"


@pytest.mark.parametrize(("start", "nbytes"), [(-1, 4), (0, 20), (4, 4)])
def test_a_range_outside_a_tensor_is_refused(tmp_path, start, nbytes):
    sink = FolderSink(tmp_path / "o", HEADERS)
    with pytest.raises(StorageError, match="outside"):
        sink.write("model.norm.weight", start, memoryview(bytes(nbytes)))
    with pytest.raises(StorageError, match="no such tensor"):
        sink.write("other", 0, memoryview(b""))
    sink.close()
    with pytest.raises(StorageError, match="closed"):
        sink.read_back("model.norm.weight", 0, memoryview(bytearray(4)))


def test_room_is_reserved_before_anything_is_computed(tmp_path):
    sink = FolderSink(tmp_path / "o", {"t": Header("F32", (300_000,))})
    status = os.stat(tmp_path / "o" / "model.safetensors")
    assert status.st_blocks * 512 >= 1_200_000 and status.st_size == sink.shards[0].nbytes


def test_components_are_written_under_the_names_their_loaders_expect(tmp_path):
    donor = tmp_path / "donor"
    for name, file in (("unet", "diffusion_pytorch_model.safetensors"), ("2_Dense", "model.safetensors")):
        (donor / name).mkdir(parents=True)
        FolderSink(donor / name, {"w": Header("F32", (1,))}).close()
        (donor / name / "model.safetensors").rename(donor / name / file)
    (donor / "modules.json").write_text(json.dumps([{"path": "unet"}, {"path": "2_Dense"}, {"path": ""}]))
    headers = {
        "a": Header("F32", (2,)),
        "unet/w": Header("F32", (5,)),
        "unet/v": Header("F32", (5,)),
        "2_Dense/w": Header("F32", (1,)),
    }
    sink = FolderSink(tmp_path / "o", headers, shard_bytes=20, stems=stems(donor))
    sink.write("2_Dense/w", 0, memoryview(b"1234"))
    sink.finish()
    assert sorted(contents(tmp_path / "o")) == [
        "2_Dense/model.safetensors",
        "model.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ]
    shutil.copy(donor / "modules.json", tmp_path / "o")
    source = open_source(str(tmp_path / "o"), label="o")
    assert set(source.headers()) == set(headers)
    out = bytearray(4)
    source.read_into("2_Dense/w", 0, memoryview(out))
    assert out == b"1234"


@pytest.mark.parametrize(("eager", "calls"), [(True, 3), (False, 0)])
def test_an_eager_sink_sets_the_disk_to_work_early(tmp_path, monkeypatch, eager, calls):
    called = []
    monkeypatch.setattr(writer, "_WRITE_BACK", 60)
    monkeypatch.setattr(writer, "start_writing_back", called.append)
    sink = FolderSink(tmp_path / "o", HEADERS, eager=eager)
    write_all(sink)
    assert len(called) == calls


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_setting_the_disk_to_work_changes_no_byte_on_any_system(tmp_path, monkeypatch, platform):
    monkeypatch.setattr(ranges.sys, "platform", platform)
    ranges._sync_file_range.cache_clear()
    path = tmp_path / "x"
    with path.open("w+b", buffering=0) as file:
        file.write(b"abc")
        ranges.start_writing_back(file.fileno())
    ranges._sync_file_range.cache_clear()
    assert path.read_bytes() == b"abc"


# Reopening what an interrupted run left.


def test_an_interrupted_folder_is_reopened_with_its_bytes(tmp_path):
    sink = FolderSink(tmp_path / "o", HEADERS, shard_bytes=100)
    sink.write("model.norm.weight", 0, memoryview(b"abcd"))
    sink.close()
    again = FolderSink(tmp_path / "o", HEADERS, shard_bytes=100)
    out = bytearray(4)
    again.read_back("model.norm.weight", 0, memoryview(out))
    assert out == b"abcd"


@pytest.mark.parametrize("left", ["nothing", "part of the header", "the header", "only zeros", "one shard of two"])
def test_a_run_that_died_while_it_began_is_taken_up(tmp_path, left):
    FolderSink(tmp_path / "whole", HEADERS, shard_bytes=100).close()
    shutil.copytree(tmp_path / "whole", tmp_path / "o")
    first, second = sorted((tmp_path / "o").iterdir())
    head = first.read_bytes()[:64]
    left_over = {"nothing": b"", "part of the header": head[:20], "the header": head, "only zeros": bytes(200)}
    if left in left_over:
        first.write_bytes(left_over[left])
    else:
        second.unlink()
    FolderSink(tmp_path / "o", HEADERS, shard_bytes=100).close()
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "other", [{"shard_bytes": 60}, {"shard_bytes": 100, "metadata": {"format": "np"}}, {"shard_bytes": 10**6}]
)
def test_a_folder_begun_for_another_result_is_refused_and_left_alone(tmp_path, other):
    FolderSink(tmp_path / "o", HEADERS, shard_bytes=100).close()
    before = contents(tmp_path / "o")
    with pytest.raises(StorageError, match="another result"):
        FolderSink(tmp_path / "o", HEADERS, **other)
    assert contents(tmp_path / "o") == before


def test_two_runs_cannot_write_the_same_folder(tmp_path):
    first = FolderSink(tmp_path / "o", HEADERS)
    with pytest.raises(StorageError, match="another run"):
        FolderSink(tmp_path / "o", HEADERS)
    first.close()
    FolderSink(tmp_path / "o", HEADERS).close()


def test_a_link_in_place_of_a_shard_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "model.safetensors").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        FolderSink(tmp_path / "o", HEADERS)
    assert (tmp_path / "precious").read_bytes() == b""


# Disks that say no.


def test_a_full_disk_is_found_before_the_first_byte(tmp_path):
    with pytest.raises(StorageError, match="more bytes are needed") as caught:
        FolderSink(tmp_path / "o", {"t": Header("U8", (10**15,))})
    assert caught.value.exit_code == 5 and not (tmp_path / "o").exists()


def test_a_disk_that_fills_up_while_room_is_reserved_leaves_nothing(tmp_path, monkeypatch):
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="disk is full"):
        FolderSink(tmp_path / "o", HEADERS, shard_bytes=100)
    assert not (tmp_path / "o").exists()


def test_a_file_system_that_cannot_reserve_gets_a_file_of_the_right_size(tmp_path, monkeypatch):
    def unable(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    sink = FolderSink(tmp_path / "o", HEADERS)
    write_all(sink)
    assert same(loaded(tmp_path / "o"), TENSORS)


def test_a_write_that_fails_names_file_and_tensor(tmp_path, monkeypatch):
    sink = FolderSink(tmp_path / "o", HEADERS)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"model\.safetensors, tensor lm_head\.weight: the disk is full"):
        sink.write("lm_head.weight", 0, memoryview(b"ab"))


def test_short_writes_and_reads_are_carried_on(tmp_path, monkeypatch):
    sink = FolderSink(tmp_path / "o", HEADERS)
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    monkeypatch.setattr(os, "preadv", lambda fd, out, offset: preadv(fd, [out[0][:2]], offset))
    sink.write("model.norm.weight", 0, memoryview(b"0123456789abcdef"))
    out = bytearray(16)
    sink.read_back("model.norm.weight", 0, memoryview(out))
    assert out == b"0123456789abcdef"
