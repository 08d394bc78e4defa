from __future__ import annotations

import copy

import pytest

from ligate.core.errors import InputError
from ligate.io.config import edited


def test_the_original_stays_as_it_was():
    config = {"num_hidden_layers": 4, "text_config": {"dtype": "float32"}, "layer_types": ["a"]}
    before = copy.deepcopy(config)
    edited(config, {"num_hidden_layers": 5, "torch_dtype": "bfloat16", "text_config.x": 1, "layer_types": None})
    assert config == before


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
    config = {"n_layer": 2, "a": {"b": 1}, "quantization_config": {"bits": 8}}
    assert edited(config, {"n_layer": 3, "a.c": [2], "d.e": 3, "quantization_config": None, "unknown": None}) == {
        "n_layer": 3,
        "a": {"b": 1, "c": [2]},
        "d": {"e": 3},
    }


def test_a_path_through_a_value_is_refused():
    with pytest.raises(InputError, match="no table under `rope_theta`"):
        edited({"rope_theta": 1e6}, {"rope_theta.x": 3})


def test_a_config_that_is_nested_too_deeply_is_told():
    config: dict = {}
    for _ in range(2000):
        config = {"table": config}
    with pytest.raises(InputError, match="nested too deeply"):
        edited(config, {"vocab_size": 7})
