from __future__ import annotations

import pytest

from .layers import blocks, layers


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
        (
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.norm1.bias",
            ("model.diffusion_model.input_blocks", 4, "1.transformer_blocks.0.norm1.bias"),
        ),
        ("unet/down_blocks.1.resnets.0.conv1.weight", ("unet/down_blocks", 1, "resnets.0.conv1.weight")),
    ],
)
def test_the_layer_number_is_found(name, place):
    assert layers([name])[name] == place


def test_other_numbers_do_not_count_where_a_known_word_stands():
    names = ["model.layers.0.w", "classifier.2.weight"]
    assert list(layers(names)) == ["model.layers.0.w"]


def test_blocks_are_layers_and_outside_them_modules():
    names = ["model.layers.0.a.weight", "model.layers.0.b.bias", "model.norm.weight", "model.norm.bias", "scale"]
    assert list(blocks(names).values()) == ["model.layers.0", "model.layers.0", "model.norm", "model.norm", "scale"]
