"""Image classifiers with frozen heads: the text tower of the pretrained model turns class names into vectors.

What is merged is the image tower of a model with two towers, such as CLIP: experts may be such models or image towers
alone. The head of a task is, for each class, the mean of the unit vectors of all its prompts, made a unit vector again;
logits are the model's own scale times the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, LigateError

from .loading import load, weights_of
from .questions import Content, Picture

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOWER, PROJECTION = "vision_model.", "visual_projection."


def require_pillow(place: object) -> None:
    if find_spec("PIL") is None:
        raise InputError("to read images takes Pillow", where=str(place), hint="`pip install pillow`.")


def two_towers(folder: Path, place: object) -> torch.nn.Module:
    """The model in a folder.

    Raises:
        InputError: it cannot be loaded, or has not both towers.
    """
    from transformers import AutoModel

    model = load(AutoModel, folder).model
    if not all(hasattr(model, name) for name in ("get_text_features", "get_image_features", "vision_model")):
        text = "is no model with a text tower and an image tower, such as CLIP"
        raise InputError(text, where=str(place), hint="experts may be image towers alone.")
    return model


def tower_of(folder: Path) -> dict[str, Tensor]:
    """What looks at images, named as in the model with two towers."""
    from transformers import AutoModel

    return _tower(load(AutoModel, folder).model)


def head(model: Any, tokenizer: Any, phrases: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """[C, D] unit vectors: the mean over the prompts for each class."""
    import torch
    from torch.nn.functional import normalize

    rows: list[Tensor] = []
    for phrase in phrases:
        texts = [prompt.replace("{}", phrase) for prompt in prompts]
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        asked = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        with torch.no_grad():
            vectors = normalize(features(model.get_text_features(**asked)), dim=1)
        rows.append(normalize(vectors.mean(0), dim=0))
    return torch.stack(rows)


def features(told: Any) -> Tensor:
    """Newer versions of transformers hand the vectors out among other things."""
    import torch

    return (told if isinstance(told, torch.Tensor) else told.pooler_output).float()


def _tower(model: torch.nn.Module) -> dict[str, Tensor]:
    """What looks at images, named as in the model with two towers."""
    start = "" if hasattr(model, "vision_model") else TOWER
    return {
        f"{start}{name}": one
        for name, one in weights_of(model).items()
        if f"{start}{name}".startswith((TOWER, PROJECTION))
    }


def shared_names(towers: Sequence[Mapping[str, Tensor]]) -> list[str]:
    """What is merged of the first tower: all of it, but for a projection that others lack."""
    return [name for name in towers[0] if all(name.startswith(TOWER) or name in tower for tower in towers)]


def changed(
    label: str, place: object, tower: Mapping[str, Tensor], base: Mapping[str, Tensor], wanted: Sequence[str]
) -> list[LigateError]:
    """A projection that some experts lack is not merged, so none may have changed it."""
    import torch

    other = [name for name in tower if name not in wanted and name in base and not torch.equal(tower[name], base[name])]
    if not other:
        return []
    text = f"model `{label}` has its own `{other[0]}`, and others have none"
    return [InputError(text, where=str(place), hint="save all experts whole, with both towers.")]


def pixels(processor: Any, contents: Sequence[Content]) -> Tensor:
    images = [one.open() for one in contents if isinstance(one, Picture)]
    return processor(images=images, return_tensors="pt")["pixel_values"]


def image_vectors(model: Any, seen: Tensor) -> Tensor:
    """[N, D] unit vectors of pictures."""
    from torch.nn.functional import normalize

    return normalize(features(model.get_image_features(pixel_values=seen)), dim=1)


def processor_of(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # many kinds, by version and by what is installed
        reason = str(error).partition("\n")[0] or type(error).__name__
        hint = "the pretrained folder needs preprocessor_config.json."
        raise InputError(f"its image processor cannot be loaded: {reason}", where=str(folder), hint=hint) from error
