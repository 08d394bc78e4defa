"""The order in which what is said about a model is applied: quantisation, prefix, adapters, aliases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ligate.core.errors import InputError
from ligate.io import open_source

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def read(source: object, name: str) -> Tensor:
    out = torch.zeros(source.headers()[name].shape)
    source.read_into(name, 0, memoryview(out.view(-1).view(torch.uint8).numpy()))
    return out


def adapter(folder: Path, module: str) -> tuple[str, None, float]:
    """Adds one to every element of a 4 x 4 weight."""
    folder.mkdir()
    parts = {"lora_A.weight": torch.ones(1, 4), "lora_B.weight": torch.ones(4, 1)}
    tensors = {f"base_model.model.{module}.{part}": tensor for part, tensor in parts.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    return str(folder), None, 1.0


def quantised(folder: Path) -> Path:
    folder.mkdir()
    tensors = {"odd.up.weight": torch.full((4, 4), 2.0).to(torch.float8_e4m3fn)}
    save_file({**tensors, "odd.up.weight_scale_inv": torch.full((1, 1), 0.5)}, folder / "model.safetensors")
    return folder


def test_an_adapter_over_a_quantised_model_changes_the_numbers_it_stands_for(tmp_path):
    base = quantised(tmp_path / "base")
    (base / "config.json").write_text(json.dumps({"quantization_config": FP8}))
    told = {"strip_prefix": "odd.", "adapters": [adapter(tmp_path / "lora", "up")], "alias": {"tied": "up.weight"}}
    source = open_source(str(base), label="a", **told)
    assert list(source.headers()) == ["up.weight", "tied"]
    assert read(source, "up.weight").eq(2.0).all() and read(source, "tied").eq(2.0).all()
    assert source.headers()["tied"].native == "BF16"
    assert source.folder == base
    source.close()


def test_quantised_weights_are_refused_where_no_config_lies_beside_them(tmp_path):
    base = quantised(tmp_path / "base")
    for path in (base, base / "model.safetensors"):
        with pytest.raises(InputError, match=r"no config\.json tells of their scales"):
            open_source(str(path), label="a")


def test_shards_that_torch_saved_are_one_model(tmp_path):
    shards = {
        "pytorch_model-00001-of-00002.bin": {"a": torch.ones(2)},
        "pytorch_model-00002-of-00002.bin": {"b": torch.zeros(2)},
    }
    for name, tensors in shards.items():
        torch.save(tensors, tmp_path / name)
    table = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": table}))
    source = open_source(str(tmp_path), label="a")
    assert list(source.headers()) == ["a", "b"]
    assert read(source, "a").tolist() == [1, 1]
    assert [path.suffix for path in source.files()] == [".json", ".bin", ".bin"]


@pytest.mark.parametrize("name", ["model.bin", "./no/such/model", "~/no-such-model", "no-such-model"])
def test_a_local_path_that_is_missing_never_asks_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ligate.io.hub.resolve_hub", lambda *_: pytest.fail("the Hub was asked"))
    with pytest.raises(InputError, match="there is no"):
        open_source(name, label="a")


def test_a_hub_id_is_asked_for_with_its_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr("ligate.io.hub.resolve_hub", lambda *what: (asked.append(what), tmp_path)[1])
    open_source("org/name@v2", label="a").close()
    assert asked == [("org/name", "v2")]
