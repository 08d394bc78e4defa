"""Classifiers of texts with heads of their own, as a network of the bench: see `ligate.tasks.sequences`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ligate.bench.kept import digest_of, folder_digest
from ligate.bench.suite import State, Trained
from ligate.bench.suites.own import models as own_models
from ligate.bench.suites.own.config import Config
from ligate.bench.weights import read_weights
from ligate.core.errors import LigateError, raise_all
from ligate.tasks.loading import set_weights, tied, tokenizer_of, unlike
from ligate.tasks.questions import Content
from ligate.tasks.sequences import Shapes, body_of, head_of, misfit, most_at_once, opened, own_weights, padded

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 32


@dataclass
class Seat:
    """The network of a task: a whole model whose body changes and whose head stays."""

    model: torch.nn.Module
    head: State
    doubles: Mapping[str, str]


@dataclass
class Classifiers:
    """A `Network`; `length` is the tokens after which a text is cut."""

    seats: Mapping[str, Seat]
    tokenizer: Any
    origins: Sequence[Path]  # folders whose tokenizers, configs and heads decide the answers
    length: int

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return digest_of([str(self.length), *(folder_digest(folder) for folder in self.origins)])

    def loaded(self, folder: Path) -> State:
        return read_weights(folder)

    def logits(self, state: State, asked: Mapping[str, Sequence[Content]]) -> dict[str, Tensor]:
        body = {name: value.float() for name, value in state.items()}  # once for all tasks
        found: dict[str, Tensor] = {}
        for task, contents in asked.items():
            seat = self.seats[task]
            set_weights(seat.model, {**body, **seat.head}, seat.doubles)
            found[task] = self._told(seat.model, contents)
        return found

    def _told(self, model: Any, contents: Sequence[Content]) -> Tensor:
        """[N, C], texts of like length together."""
        tokens = [self.tokenizer(*content, truncation=True, max_length=self.length) for content in contents]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]["input_ids"]))
        batch = most_at_once(self.tokenizer, model, _BATCH)
        parts: list[Tensor] = []
        with torch.no_grad():
            for k in range(0, len(order), batch):
                some = [tokens[i] for i in order[k : k + batch]]
                parts.append(model(**padded(self.tokenizer, some)).logits.float())
        return torch.cat(parts)[torch.tensor(order).argsort()]


def prepare(
    config: Config, folders: Mapping[str, Path], classes: Mapping[str, int], store: Path
) -> tuple[Classifiers, dict[str, Trained]]:
    """The network of all tasks, and the bodies in folders of their own, which merges read.

    Raises:
        InputError, Problems: a model has no head, a head of another width, or another body.
    """
    models = {model.label: model for model in config.models}
    found = {label: opened(folders[label]) for label in models}
    problems: list[LigateError] = []
    for task in config.tasks:
        expert = models[task.name]
        problems += misfit(expert.label, expert.place, found[task.name], classes[task.name])
    raise_all(problems)
    experts = [found[model.label] for model in config.experts]
    body = body_of(found[config.pretrained.label], experts, config.pretrained.place)
    for label, loaded in found.items():
        shapes = {name: tuple(one.shape) for name, one in own_weights(loaded).items() if name in body}
        problems += unlike(label, models[label].place, shapes, "the other experts", body)
    raise_all(problems)
    parts = {
        label: own_models.kept_part(config, store, models[label], folders[label], lambda loaded=loaded: {
            name: own_weights(loaded)[name] for name in body
        })
        for label, loaded in found.items()
    }  # fmt: skip
    seats = {task.name: _seat(found[task.name].model, body) for task in config.tasks}
    origins = [folders[config.pretrained.label], *(folders[task.name] for task in config.tasks)]
    return Classifiers(seats, tokenizer_of(folders[config.tasks[0].name]), origins, config.length), parts


def _seat(model: torch.nn.Module, body: Shapes) -> Seat:
    return Seat(model, head_of(model, body), tied(model))
