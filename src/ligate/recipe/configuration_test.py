from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ligate.core.errors import InputError
from ligate.io.memory import MemorySource

from .configuration import ConfigEdits, config_edits
from .parse import parse_text

TEXT = """\
sources: {a: ./a, b: ./b}
merge:
  method: passthrough
  slices:
    - layers: {a: [0, 3]}
    - layers: {b: [1, 4]}
"""


def source(label: str, folder: Path, config: dict[str, Any], names: list[str]) -> MemorySource:
    place = folder / label
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config))
    found = MemorySource(label, {name: torch.zeros(1) for name in names})
    found.folder = place
    return found


def decoder_names(count: int, stack: str = "model.layers") -> list[str]:
    return [f"{stack}.{n}.w" for n in range(count)]


def edits(folder: Path, a: dict[str, Any], b: dict[str, Any], text: str = TEXT, names: Any = None) -> ConfigEdits:
    names = names or decoder_names(4)
    recipe = parse_text(text)
    sources = {"a": source("a", folder, a, names), "b": source("b", folder, b, names)}
    return config_edits(recipe, recipe.steps[-1], sources)


def test_the_layer_count_follows_the_slices(tmp_path):
    config = {"num_hidden_layers": 4, "hidden_size": 4}
    assert edits(tmp_path, config, config).values == {"num_hidden_layers": 6}


def test_lists_with_a_value_per_layer_follow_each_layer_to_its_model(tmp_path):
    a = {"num_hidden_layers": 4, "layer_types": ["a0", "a1", "a2", "a3"], "eos_token_id": [1, 2, 3, 4]}
    b = {"num_hidden_layers": 4, "layer_types": ["b0", "b1", "b2", "b3"]}
    found = edits(tmp_path, a, b).values
    assert found == {"layer_types": ["a0", "a1", "a2", "b1", "b2", "b3"], "num_hidden_layers": 6}


def test_lists_of_layer_numbers_and_pattern_texts_follow(tmp_path):
    a = {"num_hidden_layers": 4, "mlp_only_layers": [0, 3], "hybrid_override_pattern": "M*M-"}
    found = edits(tmp_path, a, a).values
    assert found["mlp_only_layers"] == [0, 5]
    assert found["hybrid_override_pattern"] == "M*M*M-"


def test_a_nested_text_config_is_edited_in_place(tmp_path):
    config = {"text_config": {"num_hidden_layers": 4, "layer_types": list("wxyz")}, "vision_config": {"depth": 4}}
    found = edits(tmp_path, config, config).values
    assert found == {"text_config.layer_types": list("wxyxyz"), "text_config.num_hidden_layers": 6}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (
            {"encoder_layers": 4, "decoder_layers": 4, "num_hidden_layers": 4},
            {"encoder_layers": 6, "num_hidden_layers": 6, "decoder_layers": 1},
        ),
        ({"num_layers": 4, "num_decoder_layers": 4}, {"num_layers": 6, "num_decoder_layers": 1}),
    ],
)
def test_two_stacks_have_counts_of_their_own(tmp_path, config, found):
    text = """\
sources: {a: ./a, b: ./b}
merge:
  method: passthrough
  slices:
    - {layers: {a: [0, 3]}, stack: encoder}
    - {layers: {b: [1, 4]}, stack: encoder}
    - {layers: {b: [1, 2]}, stack: decoder}
"""
    names = decoder_names(4, "encoder.block") + decoder_names(4, "decoder.block")
    assert edits(tmp_path, config, config, text, names).values == found


def test_a_config_that_lacks_a_list_of_the_lead_model_is_refused(tmp_path):
    a = {"num_hidden_layers": 4, "layer_types": list("wxyz")}
    with pytest.raises(InputError, match="its config has no `layer_types` for layer 1") as told:
        edits(tmp_path, a, {"num_hidden_layers": 4})
    assert "model b" in str(told.value)


def test_a_config_that_counts_no_layers_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no key of its config counts the 4 layers of `model.layers`"):
        edits(tmp_path, {"hidden_size": 4}, {"hidden_size": 4})


def test_layers_that_come_first_are_counted_anew(tmp_path):
    a = {"num_hidden_layers": 4, "first_k_dense_replace": 2}
    assert edits(tmp_path, a, {**a, "first_k_dense_replace": 1}).values["first_k_dense_replace"] == 2
    assert edits(tmp_path / "later", a, a, TEXT.replace("[0, 3]", "[1, 3]").replace("[1, 4]", "[2, 4]")).values == {
        "first_k_dense_replace": 1,
        "num_hidden_layers": 4,
    }


def test_layers_that_can_only_come_first_are_not_put_behind_others(tmp_path):
    a = {"num_hidden_layers": 4, "first_k_dense_replace": 2}
    with pytest.raises(InputError, match="its layer 1 would be layer 3 of the result, behind layers of another kind"):
        edits(tmp_path, a, a)


def test_rhythms_over_the_layers_are_noted(tmp_path):
    config = {"num_hidden_layers": 4, "sliding_window_pattern": 2}
    assert ["sliding_window_pattern" in note for note in edits(tmp_path, config, config).notes] == [True]


def test_a_tensor_of_one_layer_only_is_noted_when_its_layer_moves(tmp_path):
    config, names = {"num_hidden_layers": 4}, [*decoder_names(4), "model.layers.0.bias_of_positions"]
    (tmp_path / "moved").mkdir()
    assert edits(tmp_path, config, config, names=names).notes == ()
    moved = TEXT.replace("[0, 3]", "[1, 3]")
    (note,) = edits(tmp_path / "moved", config, config, moved, names).notes
    assert "`bias_of_positions` stands only in layer 0 of `model.layers`" in note


def test_the_tower_is_known_by_its_name(tmp_path):
    config = {"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 4}}
    names = decoder_names(4, "vision_model.encoder.layers")
    assert edits(tmp_path, config, config, names=names).values == {"vision_config.num_hidden_layers": 6}


def test_the_dtype_asked_for_stands_in_the_config(tmp_path):
    text = "sources: {a: ./a, b: ./b}\nmerge: {method: linear, models: [a, b]}\noutput: {dtype: bf16}\n"
    config = {"num_hidden_layers": 4, "torch_dtype": "float32"}
    assert edits(tmp_path, config, config, text).values == {"torch_dtype": "bfloat16"}


def test_a_later_step_keeps_the_layers_of_the_sliced_one(tmp_path):
    text = """\
sources: {a: ./a, b: ./b}
steps:
  - name: deep
    method: passthrough
    slices: [{layers: {a: [0, 3]}}, {layers: {b: [1, 4]}}]
  - {method: linear, models: [deep]}
"""
    config = {"num_hidden_layers": 4}
    assert edits(tmp_path, config, config, text).values == {"num_hidden_layers": 6}


def test_models_without_a_config_need_no_edits():
    recipe = parse_text(TEXT)
    state = {name: torch.zeros(1) for name in decoder_names(4)}
    sources = {label: MemorySource(label, state) for label in "ab"}
    assert config_edits(recipe, recipe.steps[-1], sources) == ConfigEdits({})
