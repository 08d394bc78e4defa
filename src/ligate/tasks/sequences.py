"""Classifiers of texts with a head of their own for every task: bodies are merged, heads stay.

The body is what all networks have alike, by name and shape, in the base model of the architecture. The rest of each
expert is the head of its task: what stands outside of the base model (`classifier`, `score`), tensors whose shapes
differ between experts, and tensors of the base model that the pretrained network has not got, such as a pooler. A body
answers a task with the head of the task's expert, so every expert can be asked every task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, LigateError

from .loading import Loaded, load, weights_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


def opened(folder: Path) -> Loaded:
    from transformers import AutoModelForSequenceClassification

    return load(AutoModelForSequenceClassification, folder)


def classes_of(folder: Path) -> list[str] | None:
    """The labels that a model names, if it does more than count them."""
    from transformers import AutoConfig

    names: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).id2label
    return [str(names[number]) for number in sorted(names)] if names else None


def own_weights(loaded: Loaded) -> dict[str, Tensor]:
    """What the folder has, without what transformers made up."""
    return {name: one for name, one in weights_of(loaded.model).items() if name not in loaded.missing}


def shapes_of(loaded: Loaded) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one.shape) for name, one in own_weights(loaded).items()}


def misfit(label: str, place: object, loaded: Loaded, classes: int) -> list[LigateError]:
    """What keeps the model `label` from answering a task of so many classes: an error or none."""
    outside = [name for name in loaded.missing if not name.startswith(_start(loaded.model))]
    if outside:
        hint = "an expert is a classifier fine-tuned for its task, saved with its head."
        text = f"model `{label}` has no head for classes (`{min(outside)}`)"
        return [InputError(text, where=str(place), hint=hint)]
    width = int(loaded.model.config.num_labels)  # type: ignore[union-attr, arg-type]
    if width != classes:
        text = f"the head of model `{label}` tells {width} classes apart, and its task has {classes}"
        return [InputError(text, where=str(place), hint="list all of its `classes:`, in the order of the head.")]
    return []


def body_of(base: Loaded, experts: Sequence[Loaded], place: object) -> Shapes:
    """Names and shapes of what is merged.

    Raises:
        InputError: the models have nothing in common.
    """
    start = _start(experts[0].model)
    each = [shapes_of(one) for one in experts]
    body = {
        name: shape
        for name, shape in shapes_of(base).items()
        if name.startswith(start) and all(expert.get(name, shape) == shape for expert in each)
    }
    if not body:
        hint = "the pretrained model and its experts have the same architecture."
        raise InputError("the models have nothing in common to merge", where=str(place), hint=hint)
    return body


def head_of(model: torch.nn.Module, body: Shapes) -> dict[str, Tensor]:
    """What stays of a model, in float32."""
    return {name: one.float() for name, one in weights_of(model).items() if name not in body}


def padded(tokenizer: Any, tokens: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Texts as the model takes them; a single one is never filled up, for models without a filler."""
    import torch

    if len(tokens) == 1:
        return {name: torch.tensor([row]) for name, row in tokens[0].items()}
    return dict(tokenizer.pad(list(tokens), return_tensors="pt"))


def most_at_once(tokenizer: Any, model: Any, batch: int) -> int:
    """One text at a time where nothing can fill up the shorter ones."""
    return 1 if tokenizer.pad_token_id is None or model.config.pad_token_id is None else batch


def _start(model: Any) -> str:
    return f"{model.base_model_prefix}."
