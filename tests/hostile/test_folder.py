"""Model folders whose files contradict each other, are missing, or lead elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ligate.core.errors import InputError
from ligate.io import open_source

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    save_file({"a": torch.ones(1)}, place / ONE)
    save_file({"b": torch.ones(1)}, place / TWO)
    index(place, {"a": ONE, "b": TWO})
    return place


def index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def complaint(place: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(place), label="m")
    assert caught.value.exit_code == 3 and len(str(caught.value)) < 1000
    return str(caught.value)


def test_the_folder_of_these_tests_is_good(folder):
    assert list(open_source(str(folder), label="m").headers()) == ["a", "b"]


@pytest.mark.parametrize(
    "path",
    ["../secret.safetensors", "/etc/passwd", "x/../../secret", "..", "a\\..\\b", "", "x\0y", "../model/../secret"],
)
def test_an_index_cannot_lead_out_of_its_folder(folder, path):
    save_file({"b": torch.ones(1)}, folder.parent / "secret.safetensors")
    index(folder, {"a": ONE, "b": path})
    message = complaint(folder)
    assert "leaves the model's folder" in message and INDEX in message


def test_an_index_cannot_lead_out_through_a_linked_folder(folder):
    (folder / "sub").symlink_to(folder.parent)
    save_file({"b": torch.ones(1)}, folder.parent / "secret.safetensors")
    index(folder, {"a": ONE, "b": "sub/secret.safetensors"})
    assert "leaves the model's folder" in complaint(folder)


def test_a_shard_may_be_a_link_to_a_file_as_in_the_cache_of_the_hub(folder):
    (folder / TWO).rename(folder.parent / "blob")
    (folder / TWO).symlink_to(folder.parent / "blob")
    assert list(open_source(str(folder), label="m").headers()) == ["a", "b"]


@pytest.mark.parametrize("name", ["modules.json", "model_index.json"])
def test_a_list_of_components_cannot_lead_out_either(folder, name):
    save_file({"s": torch.ones(1)}, folder.parent / "model.safetensors")
    listed = [{"path": "../"}] if name == "modules.json" else {"../": ["x", "Y"]}
    (folder / name).write_text(json.dumps(listed))
    message = complaint(folder)
    assert "leaves the model's folder" in message and name in message


@pytest.mark.parametrize("components", [["sub"], ["sub", "sub", "./sub", ""]])
def test_a_component_that_links_back_to_the_model_is_no_endless_loop(folder, components):
    (folder / "sub").symlink_to(folder)
    (folder / "modules.json").write_text(json.dumps([{"path": path} for path in components]))
    assert list(open_source(str(folder), label="m").headers()) == ["a", "b", "sub/a", "sub/b"]


def test_missing_shards_are_named(folder):
    (folder / TWO).unlink()
    assert f"not there: {TWO}" in complaint(folder)


def test_an_index_that_names_a_tensor_its_shard_does_not_hold(folder):
    index(folder, {"a": ONE, "b": TWO, "c": TWO})
    assert f"says that {TWO} holds 'c', which it does not" in complaint(folder)
    index(folder, {"a": TWO, "b": TWO, "x": ONE})
    assert f"says that {TWO} holds 'a', which it does not; it is in {folder / ONE}" in complaint(folder)


def test_a_tensor_in_two_shards(folder):
    save_file({"a": torch.zeros(1), "b": torch.ones(1)}, folder / TWO)
    message = complaint(folder)
    assert str(folder / TWO) in message and "tensor a" in message and f"also in {folder / ONE}" in message


def test_a_tensor_that_the_index_forgot_is_read_all_the_same(folder):
    index(folder, {"a": ONE, "b": TWO})
    save_file({"b": torch.ones(1), "forgotten": torch.ones(1)}, folder / TWO)
    assert set(open_source(str(folder), label="m").headers()) == {"a", "b", "forgotten"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[]", "no valid JSON"),
        ('"x"', "no valid JSON"),
        ("{}", "needs a `weight_map`"),
        ('{"weight_map": []}', "needs a `weight_map`"),
        ('{"weight_map": {}}', "needs a `weight_map`"),
        ('{"weight_map": {"a": 3}}', "needs a `weight_map`"),
        ('{"weight_map": {"a": null}}', "needs a `weight_map`"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "'a' stands there twice"),
        ('{"weight_map": ' * 100_000, "nested too deeply"),
        ("\ufeff{}", "no valid JSON"),
    ],
)
def test_a_broken_index(folder, text, told):
    (folder / INDEX).write_text(text)
    message = complaint(folder)
    assert told in message and str(folder / INDEX) in message


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_an_index_that_is_no_file(folder, make):
    (folder / INDEX).unlink()
    make(folder / INDEX)
    assert "a file is expected" in complaint(folder)


def test_an_index_without_end_is_not_read(folder):
    with (folder / INDEX).open("wb") as file:
        file.truncate(10**12)  # a hole: takes no room
    assert "at most" in complaint(folder)


def test_a_single_file_and_shards_of_something_else_are_ambiguous(folder):
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    message = complaint(folder)
    assert "several sets of weights" in message and f"for instance {folder / 'model.safetensors'}" in message
    assert list(open_source(str(folder / "model.safetensors"), label="m").headers()) == ["a"]
    assert list(open_source(str(folder / INDEX), label="m").headers()) == ["a", "b"]


def test_files_without_order_are_ambiguous(tmp_path):
    for name in ("x", "y"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    assert "several sets of weights: x.safetensors, y.safetensors" in complaint(tmp_path)


def test_half_a_model_is_not_a_model(folder):
    (folder / INDEX).unlink()
    (folder / TWO).unlink()
    assert "of 2 parts, number 2 is missing" in complaint(folder)


def test_a_series_of_astronomical_length_costs_nothing(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / f"model-1-of-{'9' * 200}.safetensors")
    assert "number 2, 3, 4" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adapter_model.safetensors", "is an adapter"),
        ("adapter_model.bin", "is an adapter"),
        ("model.gguf", r"llama.cpp"),
        ("flax_model.msgpack", "Flax"),
        ("tf_model.h5", "Keras"),
        ("optimizer.pt", "holds no weights"),
        ("README.md", "holds no weights"),
    ],
)
def test_a_folder_without_weights_says_what_it_is(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"")
    assert told in complaint(tmp_path)


def test_weights_in_a_folder_below_are_pointed_out(folder):
    assert "folders below hold some: model" in complaint(folder.parent)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder):
    (folder / ONE).chmod(0)
    assert "Permission denied" in complaint(folder)
    folder.chmod(0)
    try:
        assert "cannot be read" in complaint(folder)
    finally:
        folder.chmod(0o700)


def test_a_broken_config_is_named(folder):
    (folder / "config.json").write_text("{,}")
    assert str(folder / "config.json") in complaint(folder)
