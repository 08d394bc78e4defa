"""Folders of tiny random models and files of questions, for tests of comparisons of one's own models."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

WORDS = [f"word{number}" for number in range(40)]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CLASSES = {"colour": ("red", "green", "blue"), "size": ("small", "large")}


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[END]", *WORDS, *(name for names in CLASSES.values() for name in names)]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=64
    )


def nudged(model: torch.nn.Module, seed: int, size: float = 0.05) -> torch.nn.Module:
    """Every weight moved a little, as if trained."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(size * torch.randn(value.shape, generator=draw))
    return model


def family(place: Path, make: Callable[[str], Any], labels: Sequence[str]) -> None:
    """A pretrained model and experts, each a folder below `place`; `make` builds one for a label."""
    for number, label in enumerate(("base", *labels)):
        torch.manual_seed(0)
        model = make(label) if number == 0 else nudged(make(label), number)
        model.save_pretrained(place / label)
        tokenizer().save_pretrained(place / label)


def encoders(place: Path, labels: Sequence[str] = tuple(CLASSES)) -> None:
    from transformers import BertConfig, BertModel

    family(place, lambda label: BertModel(BertConfig(vocab_size=len(tokenizer()), **SHAPE)), labels)


def classifiers(place: Path, base: str = "BertModel", expert: str = "BertForSequenceClassification") -> None:
    """Experts with heads of different widths; the base has none of them."""
    import transformers

    def make(label: str) -> Any:
        names = dict(enumerate(CLASSES.get(label, ())))
        kind = getattr(transformers, expert if names else base)
        told = {"id2label": names, "label2id": {name: number for number, name in names.items()}} if names else {}
        pad = {"pad_token_id": 0} if base.startswith("Bert") else {}
        return kind(kind.config_class(vocab_size=len(tokenizer()), **SHAPE, **pad, **told))

    family(place, make, tuple(CLASSES))


def language_models(place: Path, labels: Sequence[str] = tuple(CLASSES), tie: bool = True) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {**SHAPE, "num_key_value_heads": 1, "max_position_embeddings": 64, "tie_word_embeddings": tie}
    family(place, lambda label: LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer()), **settings)), labels)


def sentence(number: int, label: str) -> str:
    drawn = [WORDS[(number * step + 3) % len(WORDS)] for step in (1, 3, 7, 11, 13)]
    return " ".join([*drawn, label])


def rows(task: str, count: int) -> list[dict[str, str]]:
    names = CLASSES[task]
    labels = [names[number % len(names)] for number in range(count)]
    return [{"text": f"{sentence(number, label)} {task}", "label": label} for number, label in enumerate(labels)]


def write_csv(path: Path, records: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def written(place: Path, kind: str, more: str = "") -> Path:
    """Questions of both tasks and the file that asks them of the models in `place`."""
    lines = [f"kind: {kind}", "models:", "  pretrained: base", "  experts:"]
    lines += [f"    {task}: {task}" for task in CLASSES]
    lines += ["tasks:"]
    for task in CLASSES:
        write_csv(place / f"{task}.csv", rows(task, 120))
        lines += [f"  {task}:", f"    data: {task}.csv", "    split: {validation: 0.3}"]
    path = place / "mine.yaml"
    path.write_text("\n".join(lines) + f"\n{more}", encoding="utf-8")
    return path
