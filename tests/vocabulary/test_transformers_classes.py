"""transformers builds some tokenizers anew from their files: a union keeps its numbers and splits as the file says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import talkers
from talkers import CHAT, CODE, PROSE, SPECIAL, bpe, tokens, unigram, wordpiece
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoTokenizer

from ligate.verbs.merge import merge

BYTES = tuple(f"<0x{number:02X}>" for number in range(256))
RECIPE = {
    "sources": {"a": "a", "b": "b"},
    "merge": {"method": "linear", "models": ["a", "b"], "parameters": {"weight": 1}},
    "output": {"tokenizer": "union"},
}


def sentencepiece_bpe(texts: Sequence[str], size: int, special: Sequence[str] = SPECIAL) -> Tokenizer:
    """As Llama 2 spells: a space is a letter, and what is unknown is spelt in bytes, which are ordinary tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    talkers.train(tokenizer, trainers.BpeTrainer(vocab_size=size + 256, special_tokens=[*special, *BYTES]), texts)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [entry for entry in content["added_tokens"] if entry["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(content))


CLASSES = {
    "LlamaTokenizer": sentencepiece_bpe,
    "GPT2Tokenizer": bpe,
    "Qwen2Tokenizer": bpe,
    "BertTokenizer": wordpiece,
    "T5Tokenizer": unigram,
}


def write(folder: Path, tokenizer: Tokenizer, name: str) -> None:
    """As that class saves itself, with all its files."""
    talkers.write_llama(folder, tokenizer, 1)
    path = folder / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(path.read_text()).items() if key != "backend"}
    path.write_text(json.dumps({**settings, "tokenizer_class": name}))
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


@pytest.fixture(params=CLASSES)
def room(request, tmp_path, monkeypatch) -> Path:
    make: Callable[..., Tokenizer] = CLASSES[request.param]
    write(tmp_path / "a", make(PROSE, 290), request.param)
    write(tmp_path / "b", make(CODE, 280, (*SPECIAL, *CHAT)), request.param)
    monkeypatch.chdir(tmp_path)
    merge(RECIPE, "out", fsync=False)
    return tmp_path


def test_the_class_keeps_the_numbers_and_splits_as_the_file_says(room):
    found, file = AutoTokenizer.from_pretrained(room / "out"), Tokenizer.from_file(str(room / "out" / "tokenizer.json"))
    assert found.get_vocab() == tokens(room / "out")
    for text in (*PROSE, *CODE, "We <|start|>merge<|end|> lists"):
        assert found(text)["input_ids"] == file.encode(text).ids
    for label, texts in (("a", PROSE), ("b", CODE)):
        own = AutoTokenizer.from_pretrained(room / label)
        for text in texts:
            ids, again = own(text)["input_ids"], found(text)["input_ids"]
            assert found.decode(again, skip_special_tokens=True) == own.decode(ids, skip_special_tokens=True)
