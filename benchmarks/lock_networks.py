"""Small networks for `benchmarks/lock.py`: Llama and Qwen2 (grouped heads, rotary positions), BERT, ViT, trained here.

Language models read bytes of what every Python brings along: its library (code) and the topics of its help (prose).
Training takes minutes at most: what a lock does to weights does not depend on how much a network knows.
"""

from __future__ import annotations

import hashlib
import pydoc_data.topics
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ligate.bench.suites.digits.data import digits

WINDOW, BATCH, VOCABULARY, MASK = 64, 16, 257, 256
_TEST = 40_000  # bytes at the end of each text that nobody learns
_MOST = 3_000_000
_MASKED = 0.15


class Shape(NamedTuple):
    """A network that is trained from nothing. `groups` are the heads of keys."""

    family: str
    width: int
    heads: int
    groups: int
    layers: int
    steps: int
    decay: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.family}-{self.width}-{self.heads}-{self.seed}"


Batch = Callable[[torch.Generator], Mapping[str, Tensor]]


@cache
def text(domain: str) -> Tensor:
    """All bytes of `code`, `prose` or `both`."""
    if domain == "both":
        return torch.cat([text("code"), text("prose")])
    if domain == "prose":
        raw = "\n".join(pydoc_data.topics.topics.values()).encode()
    else:
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        raw = b"".join(path.read_bytes() for path in files)
    return torch.tensor(list(raw[:_MOST]))


def windows(domain: str, draw: torch.Generator, count: int = BATCH, *, test: bool = False) -> Tensor:
    """[count, WINDOW] from random places."""
    whole = text(domain)
    low, high = (len(whole) - _TEST, len(whole) - WINDOW) if test else (0, len(whole) - _TEST - WINDOW)
    starts = torch.randint(low, high, (count,), generator=draw)
    return torch.stack([whole[start : start + WINDOW] for start in starts.tolist()])


def new(shape: Shape) -> Any:
    """With random weights."""
    import transformers as t

    torch.manual_seed(shape.seed)
    common: dict[str, Any] = {
        "hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "intermediate_size": 32 * round(shape.width / 12),
    }  # fmt: skip
    words: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": WINDOW}
    decoder: dict[str, Any] = {**common, **words, "num_key_value_heads": shape.groups, "tie_word_embeddings": True}
    quiet: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if shape.family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**decoder, pad_token_id=None, bos_token_id=0, eos_token_id=0))
    if shape.family == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**decoder, bos_token_id=0, eos_token_id=0))
    if shape.family == "bert":
        return t.BertForMaskedLM(t.BertConfig(**common, **words, **quiet))
    pictures: dict[str, Any] = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    return t.ViTForImageClassification(t.ViTConfig(**common, **quiet, **pictures))


def trained(shape: Shape, folder: Path) -> Path:
    """The network in a folder of transformers; trained once."""
    return _kept(folder / shape.name, lambda: _learned(new(shape), _batches(shape), shape.steps, 1e-3, shape))


def tuned(shape: Shape, folder: Path, domain: str, steps: int) -> Path:
    """A fine-tune of a language model on one domain."""

    def learn() -> Any:
        model = type(new(shape)).from_pretrained(trained(shape, folder))
        return _learned(model, _causal(domain), steps, 3e-4, shape)

    return _kept(folder / f"{shape.name}-{domain}-{steps}", learn)


def divergence(one: Any, other: Any, domain: str, count: int = 64) -> float:
    """KL of the first network's next byte from the second's, in nats per byte, on text that nobody learned."""
    asked = windows(domain, torch.Generator().manual_seed(1), count, test=True)
    with torch.inference_mode():
        p, q = (model(input_ids=asked).logits.double().log_softmax(-1) for model in (one, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


def bits(model: Any, domain: str, count: int = 64) -> float:
    """What a byte costs."""
    asked = windows(domain, torch.Generator().manual_seed(1), count, test=True)
    with torch.inference_mode():
        told = model(input_ids=asked).logits[:, :-1].double().log_softmax(-1)
    return float(-told.gather(-1, asked[:, 1:, None]).mean()) / torch.log(torch.tensor(2.0)).item()


def _batches(shape: Shape) -> Batch:
    if shape.family == "vit":
        return _pictures()
    return _masked if shape.family == "bert" else _causal("both")


def _causal(domain: str) -> Batch:
    def batch(draw: torch.Generator) -> Mapping[str, Tensor]:
        read = windows(domain, draw)
        return {"input_ids": read, "labels": read}

    return batch


def _masked(draw: torch.Generator) -> Mapping[str, Tensor]:
    read = windows("both", draw)
    hidden = torch.rand(read.shape, generator=draw) < _MASKED
    return {"input_ids": read.where(~hidden, MASK), "labels": read.where(hidden, -100)}


def _pictures() -> Batch:
    held = digits()["train"]
    pixels, labels = held.images[:, None], held.labels

    def batch(draw: torch.Generator) -> Mapping[str, Tensor]:
        chosen = torch.randint(len(labels), (4 * BATCH,), generator=draw)
        return {"pixel_values": pixels[chosen], "labels": labels[chosen]}

    return batch


def _learned(model: Any, batch: Batch, steps: int, rate: float, shape: Shape) -> Any:
    draw = torch.Generator().manual_seed(shape.seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=shape.decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps) if steps else None
    model.train()
    for _ in range(steps):
        loss = model(**batch(draw)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rates is not None:
            rates.step()
    return model.eval()


def _kept(folder: Path, learn: Callable[[], Any]) -> Path:
    """By name and by this file, so that a change of it trains anew."""
    place = folder.with_name(f"{folder.name}-{hashlib.blake2b(Path(__file__).read_bytes()).hexdigest()[:8]}")
    if not (place / "config.json").is_file():
        learn().save_pretrained(place)
    return place
