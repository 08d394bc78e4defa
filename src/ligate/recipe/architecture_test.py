from __future__ import annotations

from ligate.core.layers import layers

from .architecture import before_layers, depths, is_vocabulary, tied_to


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
