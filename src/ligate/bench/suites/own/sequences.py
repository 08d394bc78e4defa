"""Classifiers of texts with a head of their own for every task: bodies are merged, heads are put back.

The body is what all networks have alike, by name and shape, in the base model of the architecture. The rest of each
expert is the head of its task: what stands outside of the base model (`classifier`, `score`), tensors whose shapes
differ between experts, and tensors of the base model that the pretrained network has not got, such as a pooler. A body
answers a task with the head of the task's expert, so every expert can be asked every task, and experts can vote.
"""

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
from ligate.bench.suites.own.config import Config, Model
from ligate.bench.suites.own.data import Content
from ligate.bench.suites.own.models import Loaded, set_weights, tied, tokenizer_of, weights_of
from ligate.bench.weights import read_weights
from ligate.core.errors import InputError, LigateError, raise_all

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
        filler = self.tokenizer.pad_token_id
        batch = 1 if filler is None or model.config.pad_token_id is None else _BATCH
        parts: list[Tensor] = []
        with torch.no_grad():
            for k in range(0, len(order), batch):
                some = [tokens[i] for i in order[k : k + batch]]
                padded = self.tokenizer.pad(some, return_tensors="pt") if batch > 1 else _alone(some[0])
                parts.append(model(**padded).logits.float())
        return torch.cat(parts)[torch.tensor(order).argsort()]


def _alone(tokens: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    return {name: torch.tensor([row]) for name, row in tokens.items()}


def classes_of(folder: Path) -> list[str] | None:
    """The labels that a model names, if it does more than count them."""
    from transformers import AutoConfig

    names: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).id2label
    return [str(names[number]) for number in sorted(names)] if names else None


def prepare(
    config: Config, folders: Mapping[str, Path], classes: Mapping[str, int], store: Path
) -> tuple[Classifiers, dict[str, Trained]]:
    """The network of all tasks, and the bodies in folders of their own, which merges read.

    Raises:
        InputError, Problems: a model has no head, a head of another width, or another body.
    """
    models = {model.label: model for model in config.models}
    found = {label: _opened(folders[label]) for label in models}
    problems: list[LigateError] = []
    for task in config.tasks:
        problems += _misfit(models[task.name], found[task.name], classes[task.name])
    raise_all(problems)
    body = _body(config, found)
    for label, loaded in found.items():
        shapes = {name: tuple(one.shape) for name, one in _own(loaded).items() if name in body}
        problems += own_models.unlike(models[label], shapes, "the other experts", body)
    raise_all(problems)
    parts = {
        label: own_models.kept_part(config, store, models[label], folders[label], lambda loaded=loaded: {
            name: _own(loaded)[name] for name in body
        })
        for label, loaded in found.items()
    }  # fmt: skip
    seats = {task.name: _seat(found[task.name].model, body) for task in config.tasks}
    origins = [folders[config.pretrained.label], *(folders[task.name] for task in config.tasks)]
    return Classifiers(seats, tokenizer_of(folders[config.tasks[0].name]), origins, config.length), parts


def _opened(folder: Path) -> Loaded:
    from transformers import AutoModelForSequenceClassification

    return own_models.load(AutoModelForSequenceClassification, folder)


def _own(loaded: Loaded) -> dict[str, Tensor]:
    """What the folder has, without what transformers made up."""
    return {name: one for name, one in weights_of(loaded.model).items() if name not in loaded.missing}


def _start(model: Any) -> str:
    return f"{model.base_model_prefix}."


def _misfit(model: Model, loaded: Loaded, classes: int) -> list[LigateError]:
    outside = [name for name in loaded.missing if not name.startswith(_start(loaded.model))]
    if outside:
        hint = "an expert is a classifier fine-tuned for its task, saved with its head."
        text = f"model `{model.label}` has no head for classes (`{min(outside)}`)"
        return [InputError(text, where=str(model.place), hint=hint)]
    width = int(loaded.model.config.num_labels)  # type: ignore[union-attr, arg-type]
    if width != classes:
        text = f"the head of model `{model.label}` tells {width} classes apart, and its task has {classes}"
        return [InputError(text, where=str(model.place), hint="list all of its `classes:`, in the order of the head.")]
    return []


def _body(config: Config, found: Mapping[str, Loaded]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is merged."""
    each = {label: {name: tuple(one.shape) for name, one in _own(loaded).items()} for label, loaded in found.items()}
    experts = [each[model.label] for model in config.experts]
    start = _start(found[config.experts[0].label].model)
    base = each[config.pretrained.label]
    body = {
        name: shape
        for name, shape in base.items()
        if name.startswith(start) and all(expert.get(name, shape) == shape for expert in experts)
    }
    if not body:
        hint = "the pretrained model and its experts have the same architecture."
        raise InputError("the models have nothing in common to merge", where=str(config.pretrained.place), hint=hint)
    return body


def _seat(model: torch.nn.Module, body: Mapping[str, tuple[int, ...]]) -> Seat:
    doubles = tied(model)
    head = {name: one.float() for name, one in weights_of(model).items() if name not in body}
    return Seat(model, head, doubles)
