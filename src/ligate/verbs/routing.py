"""The gates of a mixture: which expert a token goes to, started from prompts or at random.

A gate is a matrix [experts, hidden] per layer; a token goes where its product with the hidden state is largest. From
prompts, an expert's row is the direction in which its prompts lie, away from the ones it should not get.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.draw import uniform
from ligate.core.errors import InputError, NonFiniteError, RecipeError
from ligate.core.tensors import Source
from ligate.io.low_rank import read_numbers
from ligate.io.noise import normal
from ligate.recipe.mixture import HIDDEN, Expert

from .parallel import one_processor

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ALIKE = 0.95  # cosine above which two experts' gates hardly differ
_EMBEDDING = "embed_tokens.weight"

Seen = Callable[[Sequence[str]], "Tensor"]
"""Prompts -> what stands for them in each layer: [layers, hidden] in float64."""


def gates(mode: str, experts: Sequence[Expert], base: Source, layers: int, hidden: int, seed: int) -> Tensor:
    """One row per layer and expert: [layers, experts, hidden] in float32.

    Raises:
        RecipeError: transformers is needed and not installed.
        InputError: the base has no tokenizer, cannot be loaded, or an expert's prompts cancel out.
        NonFiniteError: the base makes NaN or infinity of the prompts.
    """
    import torch

    if mode == "random":
        drawn = normal(seed, "gate", "", 0, layers * len(experts) * hidden)
        return _shaped(drawn, layers, len(experts), hidden)
    if mode == "uniform_random":
        drawn = uniform(seed, "gate", "", 0, 0, layers * len(experts) * hidden) * 2.0 - 1.0
        return _shaped(drawn / math.sqrt(hidden), layers, len(experts), hidden)
    seen = _hidden(mode, base) if mode in HIDDEN else _embedded(base, layers)
    rows = [_direction(seen, expert, number) for number, expert in enumerate(experts, 1)]
    found = torch.stack(rows, dim=1)
    if found.shape != (layers, len(experts), hidden):
        text = f"its hidden states are {found.shape[0]} x {found.shape[2]}, its config says {layers} x {hidden}"
        raise InputError(text).inside(model=base.label)
    return found.float()


def alike(found: Tensor) -> list[tuple[int, int, int]]:
    """Pairs of experts (from 1 on) whose gates point the same way, with the number of layers where they do."""
    unit = found.double() / found.double().norm(dim=-1, keepdim=True).clamp_min(1e-300)
    near = (unit @ unit.transpose(1, 2) > _ALIKE).sum(0)
    count = len(near)
    return [(a + 1, b + 1, int(near[a, b])) for a in range(count) for b in range(a + 1, count) if near[a, b]]


def _shaped(drawn: np.ndarray, layers: int, experts: int, hidden: int) -> Tensor:
    import torch

    return torch.from_numpy(drawn).reshape(layers, experts, hidden).float()


def _direction(seen: Seen, expert: Expert, number: int) -> Tensor:
    found = seen(expert.positive)
    if expert.negative:
        found = found - seen(expert.negative)
    length = found.norm(dim=-1, keepdim=True)
    if not length.isfinite().all():
        hint = "its weights hold NaN or infinity, or it calculates in float16 and wants bfloat16 or float32."
        text = f"what the base makes of the prompts of expert {number} is not finite"
        raise NonFiniteError(text, where=str(expert.place), hint=hint)
    if not (length > 0).all():
        hint = "its positive and negative prompts must differ."
        raise InputError(f"the prompts of expert {number} give no direction", where=str(expert.place), hint=hint)
    return found / length


def _embedded(base: Source, layers: int) -> Seen:
    """The tokens' embeddings added up, as a direction; the same for each layer. Only their rows are read."""
    import torch

    tokens = _tokens(base)
    name = next((name for name in base.headers() if name.endswith(_EMBEDDING)), None)
    if name is None:
        raise InputError(f"it has no tensor `{_EMBEDDING}`", hint="use `gate_mode: hidden`.").inside(model=base.label)
    rows, width = base.headers()[name].shape

    def row(token: int) -> Tensor:
        if token >= rows:
            raise InputError(f"its tokenizer knows token {token}, its embedding {rows} tokens").inside(model=base.label)
        return torch.from_numpy(read_numbers(base, name, token * width, (token + 1) * width)).double()

    def seen(prompts: Sequence[str]) -> Tensor:
        total = torch.stack([row(token) for prompt in prompts for token in tokens(prompt)]).sum(0)
        return (total / total.norm().clamp_min(1e-300)).expand(layers, width)

    return seen


def _hidden(mode: str, base: Source) -> Seen:
    """What enters each layer: at the last token, or on average over the tokens; then on average over the prompts."""
    import torch

    tokens, model = _tokens(base), _model(base)

    def one(prompt: str) -> Tensor:
        with one_processor(), torch.inference_mode():
            states = model(input_ids=torch.tensor([tokens(prompt)]), output_hidden_states=True).hidden_states
        entering = torch.stack(states[:-1])[:, 0].double()
        return entering.mean(1) if mode == "hidden_avg" else entering[:, -1]

    return lambda prompts: torch.stack([one(prompt) for prompt in prompts]).mean(0)


def _tokens(base: Source) -> Callable[[str], list[int]]:
    """A prompt as the base's tokenizer splits it, behind the token that begins a text."""
    transformers, folder = _transformers(), _folder(base)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers and the libraries below it raise
        hint = "gates from prompts need the base's tokenizer; `gate_mode: random` needs none."
        raise InputError(f"its tokenizer cannot be loaded: {_words(error)}", where=str(folder), hint=hint) from error

    def tokens(prompt: str) -> list[int]:
        found = tokenizer((tokenizer.bos_token or "") + prompt, add_special_tokens=False)["input_ids"]
        if not found:
            raise InputError(f"the prompt {prompt!r} has no tokens", where=str(folder), hint="write a longer one.")
        return list(found)

    return tokens


def _model(base: Source) -> Any:
    folder = _folder(base)
    transformers = _transformers()
    transformers.utils.logging.disable_progress_bar()
    try:
        kind = transformers.AutoModelForCausalLM
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, dtype="auto").eval()
    except Exception as error:  # whatever transformers and the libraries below it raise
        hint = "`gate_mode: cheap_embed` does not load it."
        raise InputError(f"transformers cannot load it: {_words(error)}", where=str(folder), hint=hint) from error


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        hint = "pip install transformers, or choose `gate_mode: random`."
        raise RecipeError("gates from prompts need transformers, which is not installed", hint=hint) from None
    return transformers


def _folder(base: Source) -> Path:
    if base.folder is None:
        hint = "name the model's folder, not its weight file."
        raise InputError("gates from prompts need the base's tokenizer", hint=hint).inside(model=base.label)
    return base.folder


def _words(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
