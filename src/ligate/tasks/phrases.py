"""Text encoders that answer by frozen heads: the pretrained network reads a phrase for each class.

A text is the mean of its last hidden states, made a unit vector, as sentence encoders are trained; so is a phrase, and
logits are 20 times the cosine between the two. Only encoders are merged, and one merge has to satisfy all heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError

from .loading import load

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SHARPNESS = 20.0
_UNUSED = "pooler"


def opened(folder: Path, place: object) -> torch.nn.Module:
    """Raises InputError for a folder that is no text encoder, or lacks tensors of one."""
    from transformers import AutoModel

    loaded = load(AutoModel, folder)
    missing = [name for name in loaded.missing if _UNUSED not in name]
    if missing:
        raise InputError(f"{folder.name} lacks `{min(missing)}` of an encoder", where=str(place))
    return loaded.model.float()


def tokens(tokenizer: Any, texts: Sequence[str], length: int) -> dict[str, Tensor]:
    """Texts as the encoder takes them, the shorter ones filled up."""
    import torch

    rows = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.tensor(row) for row in rows], batch_first=True, padding_value=tokenizer.pad_token_id or 0)
    mask = pad([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask}


def means(model: torch.nn.Module, asked: Mapping[str, Tensor]) -> Tensor:
    """[N, D] of each text, over its tokens."""
    return mean(model(**asked).last_hidden_state, asked["attention_mask"])


def mean(hidden: Tensor, kept: Tensor) -> Tensor:
    """[N, D] of hidden states [N, T, D] where the mask [N, T] is not 0."""
    mask = kept[:, :, None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def head(model: torch.nn.Module, tokenizer: Any, phrases: Sequence[str], length: int) -> Tensor:
    """[C, D] unit vectors of the phrases."""
    import torch

    with torch.no_grad():
        return torch.nn.functional.normalize(means(model, tokens(tokenizer, phrases, length)), dim=1)


def logits(means: Tensor, head: Tensor) -> Tensor:
    """[N, C] by means [N, D] and a head [C, D]."""
    import torch

    return _SHARPNESS * torch.nn.functional.normalize(means, dim=1) @ head.T
