"""A world of the user's language models: the bits that each text costs, per byte of it.

A question is the beginning of a text, as far as the asked number of tokens. It stands behind the mark with which the
tokenizer begins or ends texts, so that the first token is told from something too. How a window becomes a number whose
mean is bits per byte is said in `lm_world`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ligate.bench.encoder import has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of, folder_digest
from ligate.bench.suite import How, Paper, State, Task, Trained, Values
from ligate.bench.suites.lm.network import FILLER
from ligate.bench.suites.lm.world import Windows, bits, per_byte
from ligate.bench.suites.own import models as own_models
from ligate.bench.suites.own.config import Model
from ligate.bench.suites.own.data import Asked
from ligate.bench.suites.own.models import set_weights, tied, weights_of
from ligate.bench.suites.own.worlds import papers
from ligate.core.errors import InputError

_SCORING = ("encoder.py", "suites/lm/network.py", "suites/lm/world.py", "suites/own/causal.py", "suites/own/models.py")
_BATCH = 8
_FEWEST_TOKENS = 4


@dataclass
class CausalWorld:
    """A `World`; `origin` is the pretrained folder, whose tokenizer and config all share."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    origin: Path
    length: int
    questions: Mapping[str, Mapping[str, Sequence[Asked]]]
    _networks: dict[str, torch.nn.Module] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [code_digest(_SCORING), torch.__version__, str(has_fast_bfloat16()), folder_digest(self.origin)]
        parts.append(str(self.length))
        for paper, each in self.questions.items():
            parts.append(
                f"{paper} { {task: [(one.key, one.source) for one in asked] for task, asked in each.items()} }"
            )
        return digest_of(parts)

    def papers(self) -> Mapping[str, Paper]:
        return papers(self.questions)

    def state(self, label: str) -> State:
        return self.loaded(self._folder(label))

    def loaded(self, folder: Path) -> State:
        return weights_of(opened(folder))

    def ask(self, state: State, paper: str) -> Values:
        set_weights(self._scratch, state, self._doubles)
        return self._values([self._scratch], [1.0], "logits", paper)

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        """All networks are in memory at once: a mixture is told token by token."""
        for label in labels:
            if label not in self._networks:
                self._networks[label] = opened(self._folder(label)).float()
        return self._values([self._networks[label] for label in labels], weights, how, paper)

    def _values(self, networks: Sequence[torch.nn.Module], weights: Sequence[float], how: How, paper: str) -> Values:
        found: dict[str, Tensor] = {}
        for task, windows in self._windows[paper].items():
            parts = [bits(networks, weights, how, part, self._mark) for part in windows.tokens.split(_BATCH)]
            found[task] = per_byte(torch.cat(parts), windows.sizes)
        return found

    def _folder(self, label: str) -> Path:
        return next(one.folder for one in (*self.others, *self.experts) if one.label == label)

    @cached_property
    def _scratch(self) -> torch.nn.Module:
        """The network into which weights are put to be asked."""
        return opened(self.origin).float()

    @cached_property
    def _doubles(self) -> dict[str, str]:
        return tied(self._scratch)

    @cached_property
    def _tokenizer(self) -> Any:
        return own_models.tokenizer_of(self.origin)

    @cached_property
    def _mark(self) -> int:
        return mark_of(self._tokenizer, self.origin)

    @cached_property
    def _windows(self) -> dict[str, dict[str, Windows]]:
        asked = self.questions.items()
        papers = self.papers()
        return {
            paper: {
                task: windows(self._tokenizer, [one.key for one in some], self.length, papers[paper].sources[task])
                for task, some in each.items()
            }
            for paper, each in asked
        }


def opened(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    return own_models.load(AutoModelForCausalLM, folder).model


def check(model: Model, folder: Path) -> None:
    """Whether a folder holds a whole language model.

    Raises:
        InputError: it does not, such as an encoder, or a model without its head.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded = own_models.load(AutoModelForCausalLM, folder)
    except InputError as error:
        raise error.inside(model=f"{model.label} ({model.place})") from None
    if loaded.missing:
        raise InputError(
            f"model `{model.label}` is no whole language model: it lacks `{min(loaded.missing)}`",
            where=str(model.place),
            hint="save it with its head, as AutoModelForCausalLM does.",
        )


def mark_of(tokenizer: Any, folder: Path) -> int:
    for mark in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if mark is not None:
            return int(mark)
    hint = "set `bos_token` or `eos_token` in tokenizer_config.json."
    raise InputError("its tokenizer has no mark for the begin or end of a text", where=str(folder), hint=hint)


def windows(tokenizer: Any, texts: Sequence[str], length: int, sources: Tensor) -> Windows:
    """The beginning of each text as tokens, and how many bytes of it they stand for."""
    if not tokenizer.is_fast:
        hint = "save it with tokenizer.json."
        raise InputError("this tokenizer does not tell where tokens begin and end", where="bench own", hint=hint)
    told = tokenizer(
        list(texts), add_special_tokens=False, truncation=True, max_length=length, return_offsets_mapping=True
    )
    rows: list[list[int]] = told["input_ids"]
    ends = [max((end for _, end in places), default=0) for places in told["offset_mapping"]]
    short = [text for text, row in zip(texts, rows, strict=True) if len(row) < _FEWEST_TOKENS]
    if short:
        text = f"{len(short)} texts have fewer than {_FEWEST_TOKENS} tokens, such as '{short[0][:40]}'"
        raise InputError(text, where="bench own", hint="remove them, or join them to longer ones.")
    widest = max(map(len, rows))
    tokens = torch.tensor([row + [FILLER] * (widest - len(row)) for row in rows])
    sizes = torch.tensor([len(text[:end].encode()) for text, end in zip(texts, ends, strict=True)])
    return Windows(tokens, sizes.double(), sources)
