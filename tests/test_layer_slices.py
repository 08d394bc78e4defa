"""Layers of one tiny model laid behind those of another, however an architecture calls them; transformers loads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ligate.verbs.merge import merge
from tiny_models import Architecture, by_name


class Stacked(NamedTuple):
    """Which layers of a and then of b make each stack, and what the config must say of it."""

    name: str
    stacks: Mapping[str, tuple[tuple[int, int], tuple[int, int]]]
    told: Mapping[str, object]


TWICE = ((0, 2), (0, 2))
SHORTER = ((1, 2), (1, 2))
CASES = (
    Stacked("llama", {"model.layers": TWICE}, {"num_hidden_layers": 4}),
    Stacked("qwen3", {"model.layers": TWICE}, {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4}),
    Stacked(
        "gemma3",
        {"model.layers": ((1, 2), (0, 2))},
        {"num_hidden_layers": 3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    ),
    Stacked("phi", {"model.layers": TWICE}, {"num_hidden_layers": 4}),
    Stacked("gpt2", {"transformer.h": ((0, 2), (1, 2))}, {"n_layer": 3}),
    Stacked("opt", {"model.decoder.layers": TWICE}, {"num_hidden_layers": 4}),
    Stacked("mixtral", {"model.layers": TWICE}, {"num_hidden_layers": 4}),
    Stacked("deepseek-moe", {"model.layers": ((0, 2), (1, 2))}, {"num_hidden_layers": 3, "first_k_dense_replace": 1}),
    Stacked("bert", {"encoder.layer": ((0, 1), (0, 2))}, {"num_hidden_layers": 3}),
    Stacked("vit", {"vit.encoder.layer": TWICE}, {"num_hidden_layers": 4}),
    Stacked(
        "clip",
        {"vision_model.encoder.layers": TWICE},
        {"vision_config": {"num_hidden_layers": 4}, "text_config": {"num_hidden_layers": 2}},
    ),
    Stacked("t5-relu", {"encoder.block": TWICE}, {"num_layers": 4, "num_decoder_layers": 2}),
    Stacked("t5-gated", {"encoder.block": SHORTER, "decoder.block": TWICE}, {"num_layers": 2, "num_decoder_layers": 4}),
    Stacked(
        "whisper",
        {"model.encoder.layers": TWICE, "model.decoder.layers": ((0, 1), (0, 2))},
        {"encoder_layers": 4, "decoder_layers": 3},
    ),
    Stacked("llava", {"language_model.model.layers": TWICE}, {"text_config": {"num_hidden_layers": 4}}),
    Stacked(
        "qwen2.5-vl",
        {"model.layers": ((0, 1), (0, 2)), "visual.blocks": TWICE},
        {
            "text_config": {"num_hidden_layers": 3},
            "vision_config": {"depth": 4, "fullatt_block_indexes": [1, 3]},
        },
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_stack_of_two_models_is_whole(case, tmp_path, monkeypatch):
    architecture = by_name(case.name)
    for seed, label in enumerate("ab"):
        architecture.build(seed).save_pretrained(tmp_path / label)
    monkeypatch.chdir(tmp_path)
    slices = [
        {"layers": {label: list(span)}, "stack": stack}
        for stack, spans in case.stacks.items()
        for label, span in zip("ab", spans, strict=True)
    ]
    recipe = {"sources": {"a": "./a", "b": "./b"}, "merge": {"method": "passthrough", "slices": slices}}
    merge(recipe, "out", fsync=False)
    assert_layers(case, *(load_file(tmp_path / name / "model.safetensors") for name in ("out", "a", "b")))
    assert_told(json.loads((tmp_path / "out" / "config.json").read_text()), case.told)
    assert_computes(architecture, tmp_path / "out")


def assert_layers(case: Stacked, out: Mapping[str, np.ndarray], *models: Mapping[str, np.ndarray]) -> None:
    """Every layer is that of its model to the bit; every other tensor is one of the two models'."""
    for stack, spans in case.stacks.items():
        wanted = [(model, number) for model, span in zip(models, spans, strict=True) for number in range(*span)]
        assert {int(found[1]) for name in out if (found := re.match(rf"{stack}\.(\d+)\.", name))} == set(
            range(len(wanted))
        )
        for place, (model, number) in enumerate(wanted):
            for name in [name for name in out if name.startswith(f"{stack}.{place}.") and "relative" not in name]:
                np.testing.assert_array_equal(out[name], model[name.replace(f"{stack}.{place}.", f"{stack}.{number}.")])
    for name in out:
        if not name.startswith(tuple(f"{stack}." for stack in case.stacks)):
            assert any(np.array_equal(out[name], model[name]) for model in models), name


def assert_told(config: object, told: object) -> None:
    """What is told stands in the config, tables within tables."""
    if isinstance(told, Mapping):
        assert isinstance(config, Mapping)
        for key, value in told.items():
            assert_told(config[key], value)
    else:
        assert config == told


def assert_computes(architecture: Architecture, folder: Path) -> None:
    model, report = architecture.kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.inference_mode():
        outputs = model.eval()(**architecture.inputs)
    found = [x for x in outputs.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
    assert found
    assert all(x.isfinite().all() for x in found)
