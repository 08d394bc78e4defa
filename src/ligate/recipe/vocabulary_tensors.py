"""Which tensors have a row per token, as data: the ends of their names, and the axis along which the rows lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ligate.core.layers import layers
from ligate.core.tensors import Header

INPUTS: Mapping[str, int] = dict.fromkeys(
    (
        "embed_tokens.weight",  # Llama and its kin, OPT, T5, Whisper
        "word_embeddings.weight",  # BERT, RoBERTa, ALBERT, DistilBERT, ELECTRA, BLOOM, Falcon, ChatGLM
        "wte.weight",  # GPT-2, MPT, Phi-1, Qwen
        "shared.weight",  # T5, BART
        "embed_in.weight",  # GPT-NeoX
        "tok_embeddings.weight",  # ModernBERT, InternLM2, Mistral's own layout
        "token_embedding.weight",  # CLIP, OpenCLIP
        "word_embedding.weight",  # XLNet
        "backbone.embeddings.weight",  # Mamba
        "transformer.embeddings.weight",  # XLM
    ),
    0,
)
"""What turns tokens into vectors: their rows are the model's vocabulary."""

OUTPUTS: Mapping[str, int] = {
    **dict.fromkeys(
        (
            *("lm_head.weight", "lm_head.bias", "lm_head.decoder.weight", "lm_head.decoder.bias"),
            *("lm_head.linear.weight", "lm_head.linear.bias"),  # Phi-1
            *("embed_out.weight", "output.weight", "output_layer.weight", "proj_out.weight"),
            *("predictions.bias", "predictions.decoder.weight", "predictions.decoder.bias"),  # BERT, ALBERT
            *("decoder.weight", "decoder.bias"),  # ModernBERT
            *("vocab_projector.weight", "vocab_projector.bias"),  # DistilBERT
            *("generator_lm_head.weight", "generator_lm_head.bias"),  # ELECTRA
            *("lm_loss.weight", "lm_loss.bias", "pred_layer.proj.weight", "pred_layer.proj.bias"),  # XLNet, XLM
            "shared_head.head.weight",  # the further predictions of DeepSeek-V3
        ),
        0,
    ),
    "final_logits_bias": 1,  # BART, [1, tokens]
}
"""What turns vectors into a number per token; a tensor of such a name counts if it has as many rows as the inputs."""

SIZE_KEYS = ("vocab_size", "padded_vocab_size", "n_vocab")
"""Config keys that count the rows, in the config itself or in one of its tables."""


class VocabularyTensors(NamedTuple):
    """The tensors of a model with a row per token: axis by name, and how many rows.

    `doubtful` are tensors that a person should look at: input embeddings of another size, and tensors outside the
    layers that have as many rows, under names that say nothing.
    """

    axes: Mapping[str, int]
    rows: int
    doubtful: tuple[str, ...] = ()


def vocabulary_tensors(headers: Mapping[str, Header]) -> VocabularyTensors | None:
    """None for a model without any. Where the inputs differ in size, the first one's is the vocabulary's.

    >>> tall = Header("F32", (100, 8))
    >>> found = vocabulary_tensors({"model.embed_tokens.weight": tall, "lm_head.weight": tall, "norm.weight": tall})
    >>> dict(found.axes), found.rows
    ({'model.embed_tokens.weight': 0, 'lm_head.weight': 0}, 100)
    """
    inputs = {name: header.shape[0] for name, header in _ending(headers, INPUTS) if len(header.shape) > 1}
    if not inputs:
        return None
    rows = next(iter(inputs.values()))
    axes = {name: axis for name, axis in _axes(headers).items() if _rows(headers[name], axis) == rows}
    width = headers[next(iter(inputs))].shape[-1]
    others = [name for name, size in inputs.items() if size != rows]
    return VocabularyTensors(axes, rows, (*others, *_alike(headers, axes, rows, width)))


def _alike(headers: Mapping[str, Header], axes: Mapping[str, int], rows: int, width: int) -> list[str]:
    """Unknown tensors of as many rows; where the vectors are as long as the vocabulary, that says nothing."""
    inside = layers(headers)
    return [
        name
        for name, header in headers.items()
        if rows not in (1, width) and rows in (*header.shape[:1], *header.shape[-1:])
        if name not in axes and name not in inside and "position" not in name
    ]


def input_tensor(headers: Mapping[str, Header]) -> str:
    """The first tensor that turns tokens into vectors, of a model that `vocabulary_tensors` knows."""
    return next(name for name, header in _ending(headers, INPUTS) if len(header.shape) > 1)


def is_untied(name: str, target: str) -> bool:
    """Whether a head that takes its numbers from an input embedding, as `alias` says, is stored as one of its own."""
    return _end(name, OUTPUTS) is not None and name.endswith(".weight") and _end(target, INPUTS) is not None


def _axes(headers: Mapping[str, Header]) -> dict[str, int]:
    """In stored order."""
    ends = {**INPUTS, **OUTPUTS}
    return {name: ends[end] for name in headers if (end := _end(name, ends)) is not None}


def _ending(headers: Mapping[str, Header], ends: Iterable[str]) -> list[tuple[str, Header]]:
    return [(name, header) for name, header in headers.items() if _end(name, ends) is not None]


def _end(name: str, ends: Iterable[str]) -> str | None:
    return next((end for end in ends if name == end or name.endswith("." + end)), None)


def _rows(header: Header, axis: int) -> int | None:
    """None where anything but sizes of one stands before the axis: then rows do not lie together."""
    before, here = header.shape[:axis], header.shape[axis : axis + 1]
    return here[0] if here and all(size == 1 for size in before) else None
