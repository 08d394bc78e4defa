from __future__ import annotations

from collections.abc import Mapping

import pytest

from ligate.core.tensors import Header

from .vocabulary_tensors import vocabulary_tensors

D, V = 8, 20


def found(shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int] | None:
    tensors = vocabulary_tensors({name: Header("F32", shape) for name, shape in shapes.items()})
    return None if tensors is None else tensors.axes


@pytest.mark.parametrize(
    ("shapes", "others"),
    [
        ({"model.embed_tokens.weight": (V, D), "lm_head.weight": (V, D)}, {"model.norm.weight": (D,)}),
        ({"transformer.wte.weight": (V, D)}, {"transformer.wpe.weight": (V, D)}),
        ({"gpt_neox.embed_in.weight": (V, D), "embed_out.weight": (V, D)}, {}),
        (
            {
                "bert.embeddings.word_embeddings.weight": (V, D),
                "cls.predictions.bias": (V,),
                "cls.predictions.decoder.weight": (V, D),
                "cls.predictions.decoder.bias": (V,),
            },
            {
                "bert.embeddings.position_embeddings.weight": (V, D),
                "cls.predictions.transform.dense.bias": (D,),
                "cls.seq_relationship.bias": (2,),
            },
        ),
        (
            {
                "roberta.embeddings.word_embeddings.weight": (V, D),
                "lm_head.bias": (V,),
                "lm_head.decoder.weight": (V, D),
            },
            {"lm_head.dense.weight": (D, D), "lm_head.layer_norm.weight": (D,)},
        ),
        (
            {"distilbert.embeddings.word_embeddings.weight": (V, D), "vocab_projector.bias": (V,)},
            {"vocab_transform.weight": (D, D), "vocab_layer_norm.bias": (D,)},
        ),
        ({"model.embeddings.tok_embeddings.weight": (V, D), "decoder.weight": (V, D), "decoder.bias": (V,)}, {}),
        (
            {"shared.weight": (V, D), "encoder.embed_tokens.weight": (V, D), "decoder.embed_tokens.weight": (V, D)},
            {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (V, D)},
        ),
        (
            {"model.shared.weight": (V, D), "final_logits_bias": (1, V)},
            {"model.encoder.embed_positions.weight": (V, D)},
        ),
        ({"text_model.embeddings.token_embedding.weight": (V, D)}, {"vision_model.embeddings.class_embedding": (D,)}),
        (
            {"model.decoder.embed_tokens.weight": (V, D), "proj_out.weight": (V, D)},
            {"model.encoder.conv1.weight": (D, 80, 3)},
        ),
    ],
)
def test_rows_per_token_are_known_by_the_ends_of_names(shapes, others):
    assert found({**shapes, **others}) == {name: 1 if name == "final_logits_bias" else 0 for name in shapes}


def test_a_head_of_another_size_has_no_row_per_token():
    assert found({"model.embed_tokens.weight": (V, D), "decoder.weight": (3, D), "lm_head.bias": ()}) == {
        "model.embed_tokens.weight": 0
    }


def test_a_model_without_embeddings_has_no_vocabulary():
    assert found({"conv.weight": (4, 4), "decoder.weight": (V, D)}) is None


def test_what_may_have_a_row_per_token_under_another_name_is_told():
    shapes = {
        "embed_tokens.weight": (V, D),
        "text.embed_tokens.weight": (3, D),
        "strange_head.weight": (V, D),
        "strange_bias": (1, V),
        "norm.weight": (D,),
        "position_embeddings.weight": (V, D),
        "layers.0.up.weight": (V, D),
    }
    tensors = vocabulary_tensors({name: Header("F32", shape) for name, shape in shapes.items()})
    assert tensors is not None and tensors.rows == V
    assert tensors.doubtful == ("text.embed_tokens.weight", "strange_head.weight", "strange_bias")


def test_a_vocabulary_as_large_as_the_vectors_are_long_says_nothing_of_other_tensors():
    tensors = vocabulary_tensors(dict.fromkeys(("embed_tokens.weight", "strange_head.weight"), Header("F32", (D, D))))
    assert tensors is not None and tensors.doubtful == ()
