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
from ligate.bench.suites.lm.world import Windows, bits, per_byte
from ligate.bench.suites.own.worlds import papers
from ligate.tasks.causal import mark_of, opened, windows
from ligate.tasks.loading import set_weights, tied, tokenizer_of, weights_of
from ligate.tasks.questions import Asked

_SCORING = (
    "encoder.py",
    "suites/lm/network.py",
    "suites/lm/world.py",
    "suites/own/causal.py",
    "../tasks/causal.py",
    "../tasks/loading.py",
)
_BATCH = 8


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
        for task, asked in self._windows[paper].items():
            parts = [bits(networks, weights, how, part, self._mark) for part in asked.tokens.split(_BATCH)]
            found[task] = per_byte(torch.cat(parts), asked.sizes)
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
        return tokenizer_of(self.origin)

    @cached_property
    def _mark(self) -> int:
        return mark_of(self._tokenizer, self.origin)

    @cached_property
    def _windows(self) -> dict[str, dict[str, Windows]]:
        asked = self.questions.items()
        papers = self.papers()
        return {
            paper: {
                task: Windows(
                    *windows(self._tokenizer, [one.key for one in some], self.length, "bench own"),
                    papers[paper].sources[task],
                )
                for task, some in each.items()
            }
            for paper, each in asked
        }
