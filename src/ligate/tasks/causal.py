"""Causal language models: windows of tokens behind a mark, and whether a folder holds such a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError

from .loading import load

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILLER = -100  # follows the tokens of a short window, and is not asked
FEWEST_TOKENS = 4


def opened(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    return load(AutoModelForCausalLM, folder).model


def check(label: str, place: object, folder: Path) -> None:
    """Whether a folder holds a whole language model.

    Raises:
        InputError: it does not, such as an encoder, or a model without its head.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded = load(AutoModelForCausalLM, folder)
    except InputError as error:
        raise error.inside(model=f"{label} ({place})") from None
    if loaded.missing:
        raise InputError(
            f"model `{label}` is no whole language model: it lacks `{min(loaded.missing)}`",
            where=str(place),
            hint="save it with its head, as AutoModelForCausalLM does.",
        )


def mark_of(tokenizer: Any, folder: Path) -> int:
    for mark in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if mark is not None:
            return int(mark)
    hint = "set `bos_token` or `eos_token` in tokenizer_config.json."
    raise InputError("its tokenizer has no mark for the begin or end of a text", where=str(folder), hint=hint)


def windows(tokenizer: Any, texts: Sequence[str], length: int, place: object) -> tuple[Tensor, Tensor]:
    """The beginning of each text as tokens [N, W], filled up with FILLER, and how many bytes [N] they stand for."""
    import torch

    if not tokenizer.is_fast:
        hint = "save it with tokenizer.json."
        raise InputError("this tokenizer does not tell where tokens begin and end", where=str(place), hint=hint)
    told = tokenizer(
        list(texts), add_special_tokens=False, truncation=True, max_length=length, return_offsets_mapping=True
    )
    rows: list[list[int]] = told["input_ids"]
    ends = [max((end for _, end in places), default=0) for places in told["offset_mapping"]]
    short = [text for text, row in zip(texts, rows, strict=True) if len(row) < FEWEST_TOKENS]
    if short:
        text = f"{len(short)} texts have fewer than {FEWEST_TOKENS} tokens, such as '{short[0][:40]}'"
        raise InputError(text, where=str(place), hint="remove them, or join them to longer ones.")
    widest = max(map(len, rows))
    tokens = torch.tensor([row + [FILLER] * (widest - len(row)) for row in rows])
    sizes = torch.tensor([len(text[:end].encode()) for text, end in zip(texts, ends, strict=True)])
    return tokens, sizes.double()
