"""Image classifiers with frozen heads: the text tower of the pretrained model turns class names into vectors.

What is merged is the image tower of a model with two towers, such as CLIP: experts may be such models or image towers
alone. The head of a task is, for each class, the mean of the unit vectors of all its prompts, made a unit vector again;
logits are the model's own scale times the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from ligate.bench.kept import digest_of, folder_digest
from ligate.bench.suite import State, Trained
from ligate.bench.suites.own import models as own_models
from ligate.bench.suites.own.config import Config, Model
from ligate.bench.suites.own.data import Content, Picture, TaskData
from ligate.bench.suites.own.models import weights_of
from ligate.bench.weights import read_weights
from ligate.core.errors import InputError, LigateError, raise_all

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 32
_TOWER, _PROJECTION = "vision_model.", "visual_projection."


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
                images = [one.open() for one in contents[k : k + _BATCH] if isinstance(one, Picture)]
                pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
                parts.append(normalize(_features(self.model.get_image_features(pixel_values=pixels)), dim=1))
        return torch.cat(parts)


def prepare(
    config: Config, folders: Mapping[str, Path], data: Mapping[str, TaskData], store: Path
) -> tuple[TwoTowers, dict[str, Trained]]:
    """The network with the heads of all tasks, and the image towers in folders of their own, which merges read.

    Raises:
        InputError, Problems: the pretrained model has no two towers, or another image tower than an expert.
    """
    required(config)
    from transformers import AutoModel

    models = {model.label: model for model in config.models}
    base = own_models.load(AutoModel, folders[config.pretrained.label]).model
    if not all(hasattr(base, name) for name in ("get_text_features", "get_image_features", "vision_model")):
        text = "is no model with a text tower and an image tower, such as CLIP"
        raise InputError(text, where=str(config.pretrained.place), hint="experts may be image towers alone.")
    towers = {label: _tower(own_models.load(AutoModel, folders[label]).model) for label in models}
    names = [name for name in towers[config.pretrained.label] if all(_has(one, name) for one in towers.values())]
    wanted = {name: tuple(towers[config.pretrained.label][name].shape) for name in names}
    problems: list[LigateError] = []
    for label, tower in towers.items():
        shapes = {name: tuple(one.shape) for name, one in tower.items() if name.startswith(_TOWER) or name in wanted}
        problems += own_models.unlike(models[label], shapes, config.pretrained.label, wanted)
        problems += _changed(models[label], tower, towers[config.pretrained.label], wanted)
    raise_all(problems)
    parts = {
        label: own_models.kept_part(config, store, models[label], folders[label], lambda tower=tower: {
            name: tower[name] for name in names
        })
        for label, tower in towers.items()
    }  # fmt: skip
    model: Any = base.float()
    tokenizer = own_models.tokenizer_of(folders[config.pretrained.label])
    heads = {task.name: head(model, tokenizer, data[task.name].phrases, task.prompts) for task in config.tasks}
    return TwoTowers(
        model, _processor(folders[config.pretrained.label]), folders[config.pretrained.label], heads
    ), parts


def required(config: Config) -> None:
    if find_spec("PIL") is None:
        hint = "`pip install pillow`."
        raise InputError("to read images takes Pillow", where=str(config.tasks[0].place), hint=hint)


def head(model: Any, tokenizer: Any, phrases: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """[C, D] unit vectors: the mean over the prompts for each class."""
    rows: list[Tensor] = []
    for phrase in phrases:
        texts = [prompt.replace("{}", phrase) for prompt in prompts]
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        asked = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        with torch.no_grad():
            vectors = normalize(_features(model.get_text_features(**asked)), dim=1)
        rows.append(normalize(vectors.mean(0), dim=0))
    return torch.stack(rows)


def _features(told: Any) -> Tensor:
    """Newer versions of transformers hand the vectors out among other things."""
    return (told if isinstance(told, torch.Tensor) else told.pooler_output).float()


def _tower(model: torch.nn.Module) -> dict[str, Tensor]:
    """What looks at images, named as in the model with two towers."""
    start = "" if hasattr(model, "vision_model") else _TOWER
    return {
        f"{start}{name}": one
        for name, one in weights_of(model).items()
        if f"{start}{name}".startswith((_TOWER, _PROJECTION))
    }


def _has(tower: Mapping[str, Tensor], name: str) -> bool:
    return name.startswith(_TOWER) or name in tower


def _changed(
    model: Model, tower: Mapping[str, Tensor], base: Mapping[str, Tensor], wanted: Mapping[str, object]
) -> list[LigateError]:
    """A projection that some experts lack is not merged, so none may have changed it."""
    other = [name for name in tower if name not in wanted and name in base and not torch.equal(tower[name], base[name])]
    if not other:
        return []
    text = f"model `{model.label}` has its own `{other[0]}`, and others have none"
    return [InputError(text, where=str(model.place), hint="save all experts whole, with both towers.")]


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # many kinds, by version and by what is installed
        reason = str(error).partition("\n")[0] or type(error).__name__
        hint = "the pretrained folder needs preprocessor_config.json."
        raise InputError(f"its image processor cannot be loaded: {reason}", where=str(folder), hint=hint) from error
