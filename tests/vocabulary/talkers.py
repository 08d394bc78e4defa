"""Small transformers models with tokenizers of their own, trained on a few sentences each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PROSE = ("The quick brown fox jumps over the lazy dog.", "The cat sat on the mat.", "We merge networks.") * 3
CODE = ("def main(): return 0", "import numpy as np", "for i in range(10): print(i)", "we merge lists") * 3
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
CHAT = ("<|start|>", "<|end|>")


def bpe(texts: Sequence[str], size: int, special: Sequence[str] = SPECIAL) -> Tokenizer:
    """As GPT-2 and Llama 3 spell: every byte is a letter."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(
        tokenizer, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet), texts
    )
    return tokenizer


def wordpiece(texts: Sequence[str], size: int, special: Sequence[str] = SPECIAL) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(special)), texts)
    return tokenizer


def unigram(texts: Sequence[str], size: int, special: Sequence[str] = SPECIAL) -> Tokenizer:
    """As T5 spells: a space is a letter."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=list(special), unk_token="<unk>")
    train(tokenizer, trainer, texts)
    return tokenizer


KINDS = {"bpe": bpe, "wordpiece": wordpiece, "unigram": unigram}


def train(tokenizer: Tokenizer, trainer: trainers.Trainer, texts: Sequence[str]) -> None:
    trainer.show_progress = False
    tokenizer.train_from_iterator(texts, trainer)
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def write_llama(folder: Path, tokenizer: Tokenizer, seed: int, *, rows: int | None = None, **config: object) -> None:
    """A model with as many rows as tokens, or more."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    named = {"bos_token_id": "<s>", "eos_token_id": "</s>", "pad_token_id": "<pad>"}
    settings = {**shape, **{key: tokenizer.token_to_id(token) for key, token in named.items()}, **config}
    size = rows or tokenizer.get_vocab_size()
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=size, **settings)).save_pretrained(folder)
    write_tokenizer(folder, tokenizer)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def tokens(folder: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())
