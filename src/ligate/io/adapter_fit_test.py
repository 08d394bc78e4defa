"""Adapters that do not fit, do more than Ligate follows, or are damaged: one error that names the part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.io.adapter import lay_adapter
from ligate.io.memory import MemorySource

ROOT = "base_model.model."
MODEL = {
    "model.up.weight": torch.ones(6, 4),
    "model.up.bias": torch.ones(6),
    "model.square.weight": torch.ones(4, 4),
    "model.embed.weight": torch.ones(9, 4),
    "model.conv.weight": torch.ones(6, 4, 3),
    "model.places": torch.arange(4),
}
UP = {f"{ROOT}model.up.lora_A.weight": torch.ones(2, 4), f"{ROOT}model.up.lora_B.weight": torch.ones(6, 2)}
SQUARE = {f"{ROOT}model.square.lora_A.weight": torch.ones(2, 4), f"{ROOT}model.square.lora_B.weight": torch.ones(4, 2)}
PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


def adapter(folder: Path, tensors: dict[str, Tensor], **config: object) -> Path:
    place = folder / "adapter"
    place.mkdir()
    save_file(tensors, place / "adapter_model.safetensors")
    (place / "adapter_config.json").write_text(json.dumps({**PLAIN, **config}))
    return place


def laid(folder: Path, tensors: dict[str, Tensor], scale: float = 1.0, model: object = None, **config: object):
    return lay_adapter(MemorySource("mine", model or MODEL), adapter(folder, tensors, **config), scale)


def read(source: object, name: str) -> Tensor:
    header = source.headers()[name]
    out = torch.zeros(header.shape)
    source.read_into(name, 0, memoryview(out.view(-1).view(torch.uint8).numpy()))
    return out


def test_the_change_worked_by_hand(tmp_path):
    """1 + 0.5 * (alpha / r = 2) * sum over r = 2 of 1 * 1."""
    assert torch.equal(read(laid(tmp_path, UP, 0.5), "model.up.weight"), torch.full((6, 4), 3.0))


@pytest.mark.parametrize(
    ("in_model", "in_adapter"),
    [
        ("h.0.", "transformer.h.0."),
        ("transformer.h.0.", "h.0."),
        ("bert.layer.", "layer."),
        ("model.language_model.layers.", "language_model.model.layers."),
        ("_orig_mod.model.", "model."),
    ],
)
def test_a_known_prefix_on_either_side_is_bridged(tmp_path, in_model, in_adapter):
    model = {f"{in_model}up.weight": torch.ones(6, 4)}
    tensors = {f"{ROOT}{in_adapter}up.{name.partition('.up.')[2]}": tensor for name, tensor in UP.items()}
    assert torch.equal(read(laid(tmp_path, tensors, model=model), f"{in_model}up.weight"), torch.full((6, 4), 5.0))


def test_names_with_the_adapters_own_name_in_them_are_understood(tmp_path):
    tensors = {name.replace(".weight", ".default.weight"): tensor for name, tensor in UP.items()}
    assert torch.equal(read(laid(tmp_path, tensors), "model.up.weight"), torch.full((6, 4), 5.0))


def test_an_adapter_that_torch_saved_is_read_too(tmp_path):
    place = adapter(tmp_path, UP)
    (place / "adapter_model.safetensors").unlink()
    torch.save(UP, place / "adapter_model.bin")
    found = lay_adapter(MemorySource("mine", MODEL), place)
    assert torch.equal(read(found, "model.up.weight"), torch.full((6, 4), 5.0))


def test_a_replaced_tensor_keeps_its_own_dtype_until_it_is_stored(tmp_path):
    model = {"model.up.weight": torch.ones(6, 4, dtype=torch.bfloat16)}
    found = laid(tmp_path, {f"{ROOT}model.up.weight": torch.full((6, 4), 0.1)}, model=model)
    header = found.headers()["model.up.weight"]
    assert (header.dtype, header.native) == ("F32", "BF16")
    assert torch.equal(read(found, "model.up.weight"), torch.full((6, 4), 0.1))


def test_a_weight_stored_beside_its_change_is_the_one_that_is_changed(tmp_path):
    tensors = {**UP, f"{ROOT}model.up.base_layer.weight": torch.full((6, 4), 7.0)}
    assert torch.equal(read(laid(tmp_path, tensors, 0.5), "model.up.weight"), torch.full((6, 4), 9.0))


def part(name: str, *shape: int) -> dict[str, Tensor]:
    return {f"{ROOT}model.{name}": torch.ones(shape)}


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        ({**UP, **part("down.lora_A.weight", 2, 4), **part("down.lora_B.weight", 6, 2)}, {}, "'model.down.weight'"),
        (part("score.weight", 2, 4), {}, "'model.score.weight', which model mine does not have"),
        (part("up.lora_A.weight", 2, 4), {}, "needs one A and one B"),
        ({**UP, **part("up.lora_embedding_A", 2, 4)}, {}, "needs one A and one B"),
        (UP, {"r": 3}, "not of rank 3"),
        (UP, {"rank_pattern": {"up": 4}}, "not of rank 4"),
        ({**part("up.lora_A.weight", 2, 5), **part("up.lora_B.weight", 6, 2)}, {}, r"do not fit a weight of \[6, 4\]"),
        ({**part("up.lora_A.weight", 2, 4), **part("up.lora_B.weight", 5, 2)}, {}, "do not fit"),
        ({**part("up.lora_A.weight", 2), **part("up.lora_B.weight", 2)}, {}, "not of rank 2"),
        ({**part("conv.lora_A.weight", 2, 4, 3), **part("conv.lora_B.weight", 6, 2, 3)}, {}, "do not fit"),
        ({**part("embed.lora_embedding_A", 2, 8), **part("embed.lora_embedding_B", 4, 2)}, {}, "do not fit"),
        ({**UP, **part("up.lora_diag", 2)}, {}, "lora_diag' is no part"),
        ({**UP, **part("up.lora_E.weight", 2, 1)}, {}, "lora_E.weight' is no part"),
        ({**UP, **part("up.trainable_tokens_delta", 2, 4)}, {}, "no part of a LoRA adapter"),
        ({**UP, **part("up.lora_magnitude_vector", 6)}, {}, "`use_dora` is false"),
        (UP, {"use_dora": True}, "`use_dora` is true.*has no magnitude"),
        ({**UP, **part("up.lora_magnitude_vector", 5)}, {"use_dora": True}, "5 numbers for 6 outputs"),
        ({**UP, **part("up.lora_B.bias", 6)}, {}, "`lora_bias` is false"),
        (UP, {"lora_bias": True}, "`lora_bias` is true"),
        ({**UP, **part("up.lora_B.bias", 5)}, {"lora_bias": True}, "does not have the shape"),
        ({**SQUARE, **part("square.lora_B.bias", 4)}, {"lora_bias": True}, "'model.square.bias'"),
        (part("up.weight", 7, 4), {}, r"is \[7, 4\].*\[6, 4\].*resized"),
        (part("places", 4), {}, "is F32, the model's tensor 'model.places' I64"),
        ({**UP, **part("up.lora_A.default.weight", 2, 4)}, {}, "speak of the same tensor"),
        ({**UP, **SQUARE}, {"fan_in_fan_out": True}, "which way 'model.square.weight' lies cannot be told"),
        ({}, {}, "holds no tensors"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, tensors, config, words):
    with pytest.raises(InputError, match=f"(?s){words}") as caught:
        laid(tmp_path, tensors, **config)
    assert "adapter" in caught.value.where and "mine" in caught.value.where


def test_integers_are_no_factors_and_are_not_changed(tmp_path):
    with pytest.raises(InputError, match="is I64; floating-point numbers are needed"):
        laid(tmp_path, {name: tensor.long() for name, tensor in UP.items()})
    (tmp_path / "second").mkdir()
    with pytest.raises(InputError, match=r"changes 'model\.up\.weight', which is I8"):
        laid(tmp_path / "second", UP, model={"model.up.weight": torch.ones(6, 4, dtype=torch.int8)})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "LOHA"}, "'LOHA'"),
        ({"peft_type": None}, "None"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "`target_parameters`"),
        ({"trainable_token_indices": [1]}, "`trainable_token_indices`"),
        ({"layer_replication": [[0, 2]]}, "`layer_replication`"),
        ({"kasa_config": {"beta": 1}}, "`kasa_config`"),
        ({"use_qalora": True}, "`use_qalora`"),
        ({"alora_invocation_tokens": [5]}, "`alora_invocation_tokens`"),
        ({"megatron_config": {"x": 1}}, "`megatron_config`"),
        ({"something_new": 0.5}, "`something_new`"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which changes the base"),
        ({"init_lora_weights": "olora"}, "'olora'"),
        ({"r": 0}, "`r` must be a whole number from 1 on. Got 0"),
        ({"r": 2.0}, "`r` must be a whole number"),
        ({"lora_alpha": "16"}, "`lora_alpha` must be a number"),
        ({"lora_alpha": None}, "`lora_alpha` must be a number"),
        ({"use_rslora": "yes"}, "`use_rslora` must be true or false"),
        ({"rank_pattern": {"(": 4}}, "no valid pattern"),
        ({"rank_pattern": [4]}, "must map names to numbers"),
        ({"alpha_pattern": {"up": "4"}}, "`up` must be a number"),
        ({"use_dora": True, "lora_bias": True}, "both `use_dora` and `lora_bias`"),
    ],
)
def test_settings_that_change_the_meaning_are_refused_by_name(tmp_path, config, words):
    with pytest.raises(InputError, match=words) as caught:
        laid(tmp_path, UP, **config)
    assert "adapter_config.json" in caught.value.where


def test_settings_that_say_how_it_was_trained_are_passed_over(tmp_path):
    told = {"lora_dropout": 0.1, "target_modules": ["up"], "task_type": "CAUSAL_LM", "something_new": None}
    assert laid(tmp_path, UP, **told).headers()["model.up.weight"].dtype == "F32"


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        ({**UP, **part("up.lora_magnitude_vector", 6)}, {"use_dora": True}, "DoRA"),
        ({**UP, **part("embed.weight", 9, 4)}, {}, "replaces a tensor as a whole"),
    ],
)
def test_a_scale_without_meaning_is_refused(tmp_path, tensors, config, words):
    with pytest.raises(RecipeError, match=words):
        laid(tmp_path, tensors, 0.5, **config)


def test_folders_that_hold_no_adapter_are_told(tmp_path):
    source = MemorySource("mine", MODEL)
    with pytest.raises(LigateError, match=r"is no adapter: it has no adapter_config\.json"):
        lay_adapter(source, tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN))
    with pytest.raises(LigateError, match=r"no weights \(adapter_model\.safetensors or adapter_model\.bin\)"):
        lay_adapter(source, tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(LigateError, match=r"adapter_config\.json: is no valid JSON"):
        lay_adapter(source, tmp_path)
