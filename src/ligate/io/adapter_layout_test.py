from __future__ import annotations

import pytest

from ligate.io.adapter_layout import AdapterFacts, adapter_config, factors, kind_of, short_names


@pytest.mark.parametrize(
    ("name", "shape", "model_type", "kind"),
    [
        ("model.layers.0.mlp.up_proj.weight", (8, 4), "llama", "linear"),
        ("lm_head.weight", (9, 4), "llama", "linear"),
        ("model.embed_tokens.weight", (9, 4), "llama", "embedding"),
        ("transformer.h.0.attn.c_proj.weight", (4, 4), "gpt2", "transposed"),
        ("transformer.h.0.attn.c_proj.weight", (4, 4), "gpt_bigcode", "linear"),
        ("conv1.weight", (8, 3, 5), "", "conv"),
        ("conv1.weight", (8, 3, 5, 5), "", "conv"),
        ("depthwise.weight", (8, 1, 5, 5), "", None),
        ("first.weight", (1, 1, 5, 5), "", "conv"),
        ("norm.weight", (8,), "", None),
        ("norm.bias", (8, 2), "", None),
        ("cls_token", (1, 1, 8), "", None),
        ("a.weight", (0, 3), "", None),
    ],
)
def test_names_and_shapes_tell_the_kind(name, shape, model_type, kind):
    assert kind_of(name, shape, model_type) == kind


def test_factors_lie_as_peft_has_them():
    assert factors("a.b.weight", (6, 4), "linear", 2)[1::2] == ((2, 4), (6, 2))
    assert factors("a.b.weight", (6, 4), "transposed", 2)[1::2] == ((2, 6), (4, 2))
    assert factors("a.b.weight", (6, 4), "embedding", 2) == (
        "base_model.model.a.b.lora_embedding_A",
        (2, 6),
        "base_model.model.a.b.lora_embedding_B",
        (4, 2),
    )
    assert factors("a.b.weight", (6, 4, 3, 3), "conv", 2)[1::2] == ((2, 4, 3, 3), (6, 2, 1, 1))


def test_a_short_name_stands_for_all_modules_of_that_name_or_for_none():
    names = ["l.0.up.weight", "l.1.up.weight", "l.0.down.weight", "l.1.down.weight", "x.down.inner.weight"]
    assert short_names(["l.0.up", "l.1.up"], names) == ["up"]
    assert short_names(["l.0.up"], names) == ["l.0.up"]
    assert short_names(["l.0.down", "l.1.down"], names) == ["l.0.down", "l.1.down"]  # x.down is another thing
    assert short_names(["l.0"], ["l.0.weight"]) == ["l.0"]


def test_ranks_that_differ_stand_in_patterns_with_their_scaling():
    told = adapter_config(
        AdapterFacts({"a.x": 4, "a.y": 4, "b.x": 2}, "base"), ["a.x.weight", "a.y.weight", "b.x.weight"]
    )
    assert (told["r"], told["lora_alpha"]) == (4, 4)
    assert told["rank_pattern"] == told["alpha_pattern"] == {"b.x": 2}
    assert told["target_modules"] == ["x", "y"]
    assert "ensure_weight_tying" not in told


def test_a_module_with_the_usual_rank_is_told_where_a_pattern_would_mean_it_too():
    ranks = {"head": 1, "aux.head": 2, "a.x": 2, "ahead": 2}
    told = adapter_config(AdapterFacts(ranks, "base"), [f"{module}.weight" for module in ranks])
    assert told["r"] == 2
    assert list(told["rank_pattern"].items()) == [("aux.head", 2), ("head", 1)]
