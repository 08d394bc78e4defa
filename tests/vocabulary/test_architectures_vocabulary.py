"""Rows per token of many architectures: tied or not, with biases, along either axis; transformers loads the union."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers
from talkers import write_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from ligate.verbs.merge import merge

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
WORDS = {
    "a": [*SPECIAL, *["the", "cat", "sat", "on", "a", "mat", "and", "saw", "it"]],
    "b": [*SPECIAL, *["def", "it", "return", "on", "the", "list", "saw", "import"]],
}
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
BART = {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_layers": 1, "decoder_layers": 1}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}


class Kind(NamedTuple):
    model: str
    config: str
    settings: dict

    def build(self, seed: int, rows: int) -> transformers.PreTrainedModel:
        torch.manual_seed(seed)
        ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
        config = getattr(transformers, self.config)(vocab_size=rows, **ids, **self.settings)
        model = getattr(transformers, self.model)(config)
        for name, buffer in model.named_buffers():
            if name.endswith("final_logits_bias"):
                buffer.normal_()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        return model


KINDS = (
    Kind("LlamaForCausalLM", "LlamaConfig", {**TEXT, "tie_word_embeddings": True}),
    Kind("GPT2LMHeadModel", "GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
    Kind("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT),
    Kind("OPTForCausalLM", "OPTConfig", {**TEXT, "ffn_dim": 24, "word_embed_proj_dim": 16}),
    Kind("BertForMaskedLM", "BertConfig", TEXT),
    Kind("RobertaForMaskedLM", "RobertaConfig", TEXT),
    Kind("DistilBertForMaskedLM", "DistilBertConfig", {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2}),
    Kind("ModernBertForMaskedLM", "ModernBertConfig", {**TEXT, "cls_token_id": 2, "sep_token_id": 3}),
    Kind("AlbertForMaskedLM", "AlbertConfig", {**TEXT, "embedding_size": 8}),
    Kind(
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2},
    ),
    Kind("BartForConditionalGeneration", "BartConfig", {**BART, **HEADS}),
)


def word_level(words: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def recipe(policy: object) -> dict:
    return {
        "sources": {"a": "a", "b": "b"},
        "merge": {"method": "linear", "models": ["a", "b"], "parameters": {"weight": {"a": 3, "b": 1}}},
        "output": {"tokenizer": policy},
    }


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.model)
def family(request, tmp_path_factory) -> tuple[Kind, Path]:
    kind, room = request.param, tmp_path_factory.mktemp(request.param.model)
    for seed, (label, words) in enumerate(WORDS.items()):
        kind.build(seed, len(words)).save_pretrained(room / label)
        write_tokenizer(room / label, word_level(words))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        merge(recipe("union"), "union", fsync=False)
        merge(recipe({"source": "b", "pad_to_multiple_of": 16}), "padded", fsync=False)
    return kind, room


def loaded(kind: Kind, folder: Path) -> dict[str, torch.Tensor]:
    """Every parameter and buffer of the model as transformers sees it, tied ones under each of their names."""
    model, report = getattr(transformers, kind.model).from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    ids = torch.arange(model.config.vocab_size)[None]
    model(input_ids=ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}))
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def by_token(tensor: torch.Tensor, numbers: dict[str, int], axis: int) -> dict[str, torch.Tensor]:
    return {token: tensor.detach().select(axis, number).double() for token, number in numbers.items()}


def axis_of(shape: torch.Size, others: torch.Size) -> int | None:
    return next((i for i, (one, other) in enumerate(zip(shape, others, strict=True)) if one != other), None)


def test_every_row_of_the_union_is_that_of_its_token(family):
    kind, room = family
    a, b, out = (loaded(kind, room / label) for label in ("a", "b", "union"))
    numbers = {label: {word: i for i, word in enumerate(words)} for label, words in WORDS.items()}
    union = list(dict.fromkeys([*WORDS["a"], *WORDS["b"]]))
    met = 0
    for name, tensor in out.items():
        axis = axis_of(a[name].shape, b[name].shape)
        if axis is None:
            continue
        met += 1
        assert tensor.shape[axis] == len(union), name
        found = by_token(tensor, {word: i for i, word in enumerate(union)}, axis)
        of_a, of_b = by_token(a[name], numbers["a"], axis), by_token(b[name], numbers["b"], axis)
        for token, row in found.items():
            one, other = of_a.get(token, of_b.get(token)), of_b.get(token, of_a.get(token))
            torch.testing.assert_close(row, (3 * one + other) / 4, rtol=1e-6, atol=1e-7, msg=f"{name} {token}")
    assert met


def test_padded_rows_are_the_mean_of_the_others(family):
    kind, room = family
    b, out = (loaded(kind, room / label) for label in ("b", "padded"))
    for name, tensor in out.items():
        axis = axis_of(b[name].shape, tensor.shape)
        if axis is None:
            continue
        assert tensor.shape[axis] == 16
        rows = tensor.detach().movedim(axis, 0).double()
        mean = rows[: len(WORDS["b"])].mean(0)
        torch.testing.assert_close(rows[len(WORDS["b"]) :], mean.expand(4, *mean.shape), rtol=1e-5, atol=1e-6)
