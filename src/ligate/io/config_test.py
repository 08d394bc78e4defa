from __future__ import annotations

import copy

import pytest

from ligate.core.errors import InputError
from ligate.io.config import edited, layer_count

LLAMA = {"model_type": "llama", "num_hidden_layers": 4, "torch_dtype": "float32", "rope_theta": 1e6}


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (LLAMA, 4),
        ({"n_layer": 12}, 12),
        ({"n_layers": 6}, 6),
        ({"num_layers": 3}, 3),
        ({"text_config": {"num_hidden_layers": 7}, "vision_config": {"num_hidden_layers": 2}}, 7),
        ({"num_hidden_layers": 5, "text_config": {"num_hidden_layers": 7}}, 5),
        ({"num_layers": 6, "num_decoder_layers": 6}, None),
        ({"encoder_layers": 4, "decoder_layers": 4, "num_hidden_layers": 4}, None),
        ({"num_hidden_layers": "4"}, None),
        ({}, None),
    ],
)
def test_where_the_number_of_layers_stands(config, count):
    assert layer_count(config) == count


def test_the_original_stays_as_it_was():
    config = {**LLAMA, "text_config": {"dtype": "float32"}}
    before = copy.deepcopy(config)
    edited(config, {"layers": [0, 1], "torch_dtype": "bfloat16", "text_config.x": 1})
    assert config == before


def test_layers_follow_their_origin():
    config = {
        **LLAMA,
        "layer_types": ["full", "sliding", "full", "linear"],
        "no_rope_layers": [1, 1, 0, 1],
        "mlp_only_layers": [1, 3],
        "eos_token_id": [1, 2, 3, 4],  # as long as there are layers, but nothing of theirs
    }
    result = edited(config, {"layers": (0, 1, 1, 3, 2)})
    assert result["num_hidden_layers"] == 5
    assert result["layer_types"] == ["full", "sliding", "sliding", "linear", "full"]
    assert result["no_rope_layers"] == [1, 1, 1, 1, 0]
    assert result["mlp_only_layers"] == [1, 2, 3]
    assert result["eos_token_id"] == [1, 2, 3, 4]


def test_layers_are_changed_in_the_text_part_of_a_model_that_sees():
    config = {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 2}}
    assert edited(config, {"layers": [0, 0, 1]}) == {
        "text_config": {"num_hidden_layers": 3},
        "vision_config": {"num_hidden_layers": 2},
    }


def test_a_bare_count_is_enough_where_nothing_is_told_per_layer():
    assert edited(LLAMA, {"num_hidden_layers": 6})["num_hidden_layers"] == 6
    assert edited({"n_layer": 2}, {"num_hidden_layers": 3}) == {"n_layer": 3}
    with pytest.raises(InputError, match="one value per layer in `layer_types`"):
        edited({**LLAMA, "layer_types": ["a"] * 4}, {"num_hidden_layers": 6})
    assert edited({**LLAMA, "layer_types": ["a"] * 4}, {"num_hidden_layers": 4})["layer_types"] == ["a"] * 4


@pytest.mark.parametrize(
    ("config", "edits", "told"),
    [
        (LLAMA, {"layers": [0, 4]}, "has 4 layers; there is no layer 4"),
        (LLAMA, {"layers": [-1]}, "no layer -1"),
        ({"num_layers": 6, "num_decoder_layers": 6}, {"layers": [0]}, "no single number of layers"),
        ({}, {"num_hidden_layers": 3}, "no single number of layers"),
        (LLAMA, {"rope_theta.x": 3}, "no table under `rope_theta`"),
    ],
)
def test_what_cannot_be_changed_is_refused(config, edits, told):
    with pytest.raises(InputError, match=told):
        edited(config, edits)


def test_the_dtype_is_changed_wherever_it_is_told():
    config = {
        "dtype": "float32",
        "text_config": {"torch_dtype": "float16", "layers": {"dtype": "float32"}},
        "vocabulary_map": {"dtype": 300},  # a word, not a dtype
        "quantization_config": {"dtype": "int8"},
    }
    assert edited(config, {"torch_dtype": "bfloat16"}) == {
        "dtype": "bfloat16",
        "text_config": {"torch_dtype": "bfloat16", "layers": {"dtype": "bfloat16"}},
        "vocabulary_map": {"dtype": 300},
        "quantization_config": {"dtype": "int8"},
    }
    assert edited({"model_type": "x"}, {"torch_dtype": "float16"}) == {"model_type": "x", "torch_dtype": "float16"}


def test_any_key_can_be_set_or_removed_by_its_path():
    config = {"a": {"b": 1}, "quantization_config": {"bits": 8}}
    assert edited(config, {"a.c": [2], "d.e": 3, "quantization_config": None, "unknown": None}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 3},
    }
