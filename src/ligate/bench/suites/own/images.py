"""Image classifiers with two towers, as a network of the bench: see `ligate.tasks.images`."""

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
from ligate.bench.suites.own.data import TaskData
from ligate.bench.weights import read_weights
from ligate.core.errors import LigateError, raise_all
from ligate.tasks.images import (
    TOWER,
    changed,
    head,
    image_vectors,
    pixels,
    processor_of,
    require_pillow,
    shared_names,
    tower_of,
    two_towers,
)
from ligate.tasks.loading import tokenizer_of, unlike
from ligate.tasks.questions import Content

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 32


@dataclass
class TwoTowers:
    """A `Network`: the pretrained model, whose image tower gets the weights that are asked."""

    model: Any
    processor: Any
    origin: Path
    heads: Mapping[str, Tensor]  # [C, D] unit vectors by task

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return digest_of(
            [folder_digest(self.origin), *(f"{task} {head.tolist()}" for task, head in self.heads.items())]
        )

    def loaded(self, folder: Path) -> State:
        return read_weights(folder)

    def logits(self, state: State, asked: Mapping[str, Sequence[Content]]) -> dict[str, Tensor]:
        whole = self.model.state_dict()
        self.model.load_state_dict({**whole, **{name: value.float() for name, value in state.items()}})
        scale = float(self.model.logit_scale.detach().exp())
        return {task: scale * self._vectors(some) @ self.heads[task].T for task, some in asked.items()}

    def _vectors(self, contents: Sequence[Content]) -> Tensor:
        parts: list[Tensor] = []
        with torch.no_grad():
            for k in range(0, len(contents), _BATCH):
                parts.append(image_vectors(self.model, pixels(self.processor, contents[k : k + _BATCH])))
        return torch.cat(parts)


def prepare(
    config: Config, folders: Mapping[str, Path], data: Mapping[str, TaskData], store: Path
) -> tuple[TwoTowers, dict[str, Trained]]:
    """The network with the heads of all tasks, and the image towers in folders of their own, which merges read.

    Raises:
        InputError, Problems: the pretrained model has no two towers, or another image tower than an expert.
    """
    required(config)
    pretrained = config.pretrained
    models = {model.label: model for model in config.models}
    base = two_towers(folders[pretrained.label], pretrained.place)
    towers = {label: tower_of(folders[label]) for label in models}
    names = shared_names([towers[pretrained.label], *towers.values()])
    wanted = {name: tuple(towers[pretrained.label][name].shape) for name in names}
    problems: list[LigateError] = []
    for label, tower in towers.items():
        shapes = {name: tuple(one.shape) for name, one in tower.items() if name.startswith(TOWER) or name in wanted}
        place = models[label].place
        problems += unlike(label, place, shapes, pretrained.label, wanted)
        problems += changed(label, place, tower, towers[pretrained.label], names)
    raise_all(problems)
    parts = {
        label: own_models.kept_part(config, store, models[label], folders[label], lambda tower=tower: {
            name: tower[name] for name in names
        })
        for label, tower in towers.items()
    }  # fmt: skip
    model: Any = base.float()
    origin = folders[pretrained.label]
    tokenizer = tokenizer_of(origin)
    heads = {task.name: head(model, tokenizer, data[task.name].phrases, task.prompts) for task in config.tasks}
    return TwoTowers(model, processor_of(origin), origin, heads), parts


def required(config: Config) -> None:
    require_pillow(config.tasks[0].place)
