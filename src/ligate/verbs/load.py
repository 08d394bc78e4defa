"""Does a result work? Load it with transformers, run it once, look for numbers that are not finite."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, NonFiniteError, RecipeError
from ligate.io import open_source

_LENGTH = 8  # tokens


@dataclass(frozen=True)
class Loaded:
    """A model that could be loaded and run."""

    architecture: str
    parameters: int
    outputs: Mapping[str, tuple[int, ...]]  # name -> shape of every tensor that came out


def load(out: str | PathLike[str]) -> Loaded:
    """Load a model folder with transformers and run one small batch through it.

    Raises:
        InputError: transformers cannot load it, or tensors are missing, left over or of another shape.
        NonFiniteError: the outputs hold NaN or infinity.
        RecipeError: transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ImportError:
        hint = "pip install transformers"
        raise RecipeError("loading a result needs transformers, which is not installed", hint=hint) from None
    folder = Path(out)
    if not (folder / "config.json").is_file():
        raise InputError("there is no config.json", where=str(out), hint="only a transformers model can be loaded.")
    open_source(str(folder), label=folder.name).close()  # says what is wrong with a damaged file, and which it is
    transformers.utils.logging.disable_progress_bar()
    model = _model(transformers, folder)
    torch.manual_seed(0)
    with torch.inference_mode():
        outputs = dict(_tensors("", _run(model, str(out))))
    for name, value in outputs.items():
        if not torch.isfinite(value).all():
            raise NonFiniteError(f"`{name}` holds NaN or infinity after one forward pass", where=str(out))
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    return Loaded(type(model).__name__, sum(p.numel() for p in model.parameters()), shapes)


def _model(transformers: Any, folder: Path) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        names = getattr(config, "architectures", None) or ["AutoModel"]
        kind = getattr(transformers, names[0], transformers.AutoModel)
        model, info = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # whatever transformers and the libraries below it raise
        raise InputError(f"transformers cannot load it: {_words(error)}", where=str(folder)) from error
    wrong = {
        key: sorted(map(str, info.get(key) or ())) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    told = [f"{key.removesuffix('_keys')} {', '.join(names[:5])}" for key, names in wrong.items() if names]
    if told:
        raise InputError(f"transformers finds other tensors than it expects: {'; '.join(told)}", where=str(folder))
    return model.eval()


def _run(model: Any, where: str) -> Any:
    try:
        return model(**_inputs(model))
    except Exception as error:  # whatever the code of the architecture raises
        raise InputError(f"it loads, but does not run: {_words(error)}", where=where) from error


def _words(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _inputs(model: Any) -> dict[str, Any]:
    """A small batch of whatever the forward pass of this model takes."""
    import torch

    config, takes = model.config, set(inspect.signature(model.forward).parameters)
    text, vision = getattr(config, "text_config", config), getattr(config, "vision_config", config)
    tokens = torch.arange(1, _LENGTH + 1)[None] % max(getattr(text, "vocab_size", _LENGTH + 1), 1)
    inputs: dict[str, Any] = {}
    if "input_ids" in takes:
        inputs["input_ids"] = tokens
    if "pixel_values" in takes and _wants_pixels(model):
        height, width = _pair(getattr(vision, "image_size", 224))
        inputs["pixel_values"] = torch.rand(1, getattr(vision, "num_channels", 3), height, width)
    if "input_features" in takes:
        length = 2 * getattr(config, "max_source_positions", 1500)
        inputs["input_features"] = torch.rand(1, getattr(config, "num_mel_bins", 80), length)
    if "input_values" in takes:
        inputs["input_values"] = torch.rand(1, 16_000)
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = tokens
    dtype = next(model.parameters()).dtype
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def _wants_pixels(model: Any) -> bool:
    """A vision model, or one that compares texts and images; a language model with eyes can do without."""
    eyes = any(hasattr(model.config, key) for key in ("image_token_id", "image_token_index"))
    return model.main_input_name == "pixel_values" or (hasattr(model.config, "vision_config") and not eyes)


def _pair(size: Any) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, (list, tuple)) else (size, size)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every floating tensor in the outputs, however deeply they are nested."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _tensors(f"{name}.{number}" if name else str(number), item)
