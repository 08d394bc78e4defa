"""Tiny random models of eight architectures: every tensor is merged, and transformers loads the result whole.

No table of architectures takes part: tensors of the same name are merged, whatever they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from transformers import PreTrainedModel

from ligate.verbs.merge import merge

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32}
IMAGE = {**SMALL, "image_size": 8, "patch_size": 4}


class Architecture(NamedTuple):
    model: str
    config: str
    settings: Mapping[str, object]


ARCHITECTURES = (
    Architecture("LlamaForCausalLM", "LlamaConfig", {**TEXT, "num_key_value_heads": 1}),
    Architecture("MixtralForCausalLM", "MixtralConfig", {**TEXT, "num_key_value_heads": 1, "num_local_experts": 4}),
    Architecture("GPT2LMHeadModel", "GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40}),
    Architecture("BertModel", "BertConfig", TEXT),
    Architecture("ViTForImageClassification", "ViTConfig", {**IMAGE, "num_labels": 3}),
    Architecture(
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**TEXT, "projection_dim": 8, "bos_token_id": 0, "eos_token_id": 1},
            "vision_config": {**IMAGE, "projection_dim": 8},
            "projection_dim": 8,
        },
    ),
    Architecture(
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40},
    ),
    Architecture(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "vocab_size": 40,
            "num_mel_bins": 4,
            "max_source_positions": 8,
            "max_target_positions": 8,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
            "suppress_tokens": [],
            "begin_suppress_tokens": [],
        },
    ),
)
LINEAR = """
merge_method: linear
models:
  - {model: a, parameters: {weight: 1}}
  - {model: b, parameters: {weight: 3}}
"""
TIES = """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.4}
"""


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda architecture: architecture.model)
def family(request, tmp_path_factory) -> tuple[type[PreTrainedModel], Path]:
    """The model's class, and a folder with base, a and b."""
    name, config, settings = request.param
    kind = getattr(transformers, name)
    room = tmp_path_factory.mktemp(name)
    for seed, label in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        kind(getattr(transformers, config)(**settings)).save_pretrained(room / label)
    return kind, room


def merged(room: Path, config: str, out: Path, chdir: Callable[[Path], None]) -> dict[str, np.ndarray]:
    chdir(room)
    (room / "merge.yml").write_text(config)
    merge("merge.yml", out)
    return tensors(out)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def test_every_tensor_is_the_average(family, tmp_path, monkeypatch):
    _, room = family
    found = merged(room, LINEAR, tmp_path / "out", monkeypatch.chdir)
    a, b = tensors(room / "a"), tensors(room / "b")
    assert list(found) == list(a)
    for name, tensor in found.items():
        expected = (a[name].astype(np.float64) + 3 * b[name].astype(np.float64)) / 4
        np.testing.assert_allclose(tensor, expected, rtol=1.2e-7, atol=1e-12, err_msg=name)


def test_every_tensor_of_a_ties_merge_differs_from_all_models_or_did_not_change(family, tmp_path, monkeypatch):
    _, room = family
    found = merged(room, TIES, tmp_path / "out", monkeypatch.chdir)
    models = [tensors(room / label) for label in ("base", "a", "b")]
    for name, tensor in found.items():
        changed = any(not np.array_equal(model[name], models[0][name]) for model in models[1:])
        assert changed != np.array_equal(tensor, models[0][name]), name


def test_transformers_loads_the_result_with_the_same_names_and_numbers(family, tmp_path, monkeypatch):
    kind, room = family
    merged(room, LINEAR, tmp_path / "out", monkeypatch.chdir)
    model, report = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    a, b = (kind.from_pretrained(room / label).state_dict() for label in ("a", "b"))
    assert list(model.state_dict()) == list(a)
    for name, tensor in model.state_dict().items():
        expected = (a[name].double() + 3 * b[name].double()) / 4 if tensor.is_floating_point() else a[name]
        torch.testing.assert_close(tensor.double(), expected.double(), rtol=1.2e-7, atol=1e-12, msg=name)
