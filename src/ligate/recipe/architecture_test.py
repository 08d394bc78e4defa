from __future__ import annotations

import pytest

from .architecture import before_layers, depths, is_vocabulary, layers, tied_to


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.3.mlp.up_proj.weight", ("model.layers", 3, "mlp.up_proj.weight")),
        (
            "model.layers.3.block_sparse_moe.experts.5.w1.weight",
            ("model.layers", 3, "block_sparse_moe.experts.5.w1.weight"),
        ),
        ("transformer.h.11.attn.c_attn.weight", ("transformer.h", 11, "attn.c_attn.weight")),
        ("h.0.ln_1.bias", ("h", 0, "ln_1.bias")),
        ("bert.encoder.layer.2.output.dense.bias", ("bert.encoder.layer", 2, "output.dense.bias")),
        ("encoder.block.1.layer.0.SelfAttention.q.weight", ("encoder.block", 1, "layer.0.SelfAttention.q.weight")),
        ("model.decoder.layers.0.fc1.weight", ("model.decoder.layers", 0, "fc1.weight")),
        ("visual.transformer.resblocks.7.ln_1.weight", ("visual.transformer.resblocks", 7, "ln_1.weight")),
        ("blocks.4.norm1.weight", ("blocks", 4, "norm1.weight")),
    ],
)
def test_the_layer_number_is_found(name, place):
    assert layers([name])[name] == place


def test_other_numbers_do_not_count_where_a_known_word_stands():
    names = ["model.layers.0.w", "classifier.2.weight"]
    assert list(layers(names)) == ["model.layers.0.w"]


def test_without_a_known_word_any_number_counts():
    names = ["net.0.weight", "net.2.weight", "net.4.weight", "out.weight"]
    assert depths(layers(names)) == {"net.0.weight": 0, "net.2.weight": 0.5, "net.4.weight": 1}


def test_a_stack_of_one_layer_takes_the_last_value():
    assert depths(layers(["h.0.w"])) == {"h.0.w": 1}


def test_embeddings_stand_before_the_layers_and_heads_after():
    before = ("model.embed_tokens.weight", "wpe.weight", "shared.weight", "vit.embeddings.cls_token")
    after = ("model.norm.weight", "lm_head.weight", "transformer.ln_f.bias", "score.weight", "embed_out.weight")
    assert all(map(before_layers, before))
    assert not any(map(before_layers, after))


def test_vocabulary_and_ties_are_known_by_name():
    assert is_vocabulary("transformer.wte.weight")
    assert not is_vocabulary("model.norm.weight")
    assert tied_to("lm_head.weight")[0] == "model.embed_tokens.weight"
