"""The network behind a checkpoint, without its weights: what has to be traced, and something to feed it.

A folder of transformers names its class in config.json. It is built on the device `meta`, where tensors have shapes
and no numbers, so that a model of any size costs no memory. Everything else comes from a function of the user's.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError, RecipeError
from ligate.core.suggest import nearest
from ligate.io.documents import read_object

if TYPE_CHECKING:
    from torch import Tensor, nn

_LENGTH = 8  # tokens of the text that is traced
_BY_HAND = (
    "give the groups by hand (`--groups FILE`), or a function that builds the network (`--model MODULE:FUNCTION`)."
)


class Architecture(NamedTuple):
    """A network and what it is called with."""

    model: nn.Module
    inputs: tuple[Any, ...]
    options: Mapping[str, Any]


def architecture_of(folder: Path | None, label: str, device: str = "meta") -> Architecture:
    """The network of a transformers folder, with random weights or, on the device `meta`, with none.

    Raises:
        InputError: there is no config.json, transformers is not there or does not know the class.
    """
    path = folder / "config.json" if folder else None
    if path is None or not path.is_file():
        text = "there is no config.json, so nobody knows what network these weights belong to"
        raise InputError(text, where=f"model {label}", hint=_BY_HAND)
    kind, config = _class_and_config(path)
    return _built(kind, config, path, device)


def given_architecture(text: str) -> Architecture:
    """What the function `module:function` returns: (network, inputs), inputs a tuple of arguments or a mapping.

    Modules are looked for in the current folder, too.

    Raises:
        RecipeError: there is no such function, or it returns something else.
    """
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise RecipeError(f"`{text}` is no MODULE:FUNCTION", where="--model", hint="for example `networks:mlp`.")
    with _current_folder_first():
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            raise RecipeError(f"`{module}` cannot be imported: {error}", where="--model") from None
    if not callable(make := getattr(found, name, None)):
        public = [each for each in vars(found) if not each.startswith("_")]
        raise RecipeError(f"`{module}` has no function `{name}`", where="--model", hint=nearest(name, public))
    return _checked(make(), text)


def example(model: Any, config: Any, *, seed: int = 0, device: str = "cpu") -> dict[str, Tensor]:
    """Random inputs for a network of transformers, by the names of the arguments that it cannot do without.

    Raises:
        InputError: nobody here knows how to make what it takes.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    takes = inspect.signature(model.forward).parameters
    text, picture = _part(config, "text_config"), _part(config, "vision_config")
    found: dict[str, Tensor] = {}
    if "input_ids" in takes and _number(text, "vocab_size"):
        found["input_ids"] = torch.randint(_number(text, "vocab_size"), (1, _length(text)), generator=draw)
    if "decoder_input_ids" in takes and getattr(config, "is_encoder_decoder", False):
        found["decoder_input_ids"] = torch.randint(_number(text, "vocab_size"), (1, _length(text)), generator=draw)
    if "pixel_values" in takes and _number(picture, "image_size"):
        height, width = _sides(picture)
        shape = (1, _number(picture, "num_channels") or 3, height, width)
        found["pixel_values"] = torch.randn(shape, generator=draw)
        if "input_ids" in found:
            found["input_ids"] = _with_picture(found["input_ids"], config, picture)
    if "input_features" in takes and _number(config, "num_mel_bins"):
        frames = 2 * (_number(config, "max_source_positions") or 50)
        found["input_features"] = torch.randn((1, _number(config, "num_mel_bins"), frames), generator=draw)
        found.pop("input_ids", None)
    if not found:
        told = ", ".join(takes)
        raise InputError(f"no example of its inputs can be made ({told})", where=type(model).__name__, hint=_BY_HAND)
    return {name: value.to(device) for name, value in found.items()}


@contextlib.contextmanager
def hushed() -> Generator[None]:
    """torch and transformers print what they think of a graph; what is wrong with it comes as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)


def _class_and_config(path: Path) -> tuple[Any, Any]:
    """The class that the config names, and the config as transformers reads it. No code of the folder is run."""
    told = read_object(path)
    try:
        import transformers
    except ImportError:
        hint = f"`pip install transformers`; or {_BY_HAND}"
        raise InputError("transformers is needed to know this network", where=str(path), hint=hint) from None
    names = told.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "AutoModel"
    kind = _attribute(transformers, name) if name.isidentifier() else None
    if kind is None:
        own = " It needs code of its own, which is not run here." if told.get("auto_map") else ""
        text = f"transformers {transformers.__version__} knows no `{name}`.{own}"
        raise InputError(text, where=str(path), hint=_BY_HAND)
    try:
        with hushed():
            return kind, transformers.AutoConfig.from_pretrained(path.parent, trust_remote_code=False)
    except Exception as error:  # whatever a config makes transformers say
        raise _unbuilt(path, error) from error


def _attribute(library: Any, name: str) -> Any:
    """None also where what the library needs for it is not installed."""
    try:
        return getattr(library, name, None)
    except ImportError:
        return None


def _built(kind: Any, config: Any, path: Path, device: str) -> Architecture:
    import torch

    for part in (config, _part(config, "text_config"), _part(config, "vision_config")):
        if hasattr(part, "use_cache"):
            part.use_cache = False  # a cache is an output, which would fix what it holds
    try:
        with hushed(), torch.device(device):
            make = kind if hasattr(kind, "forward") else kind.from_config
            model = make(config).eval()
    except Exception as error:  # whatever a config makes a model's own code raise
        raise _unbuilt(path, error) from error
    return Architecture(model, (), example(model, config, device=device))


def _unbuilt(path: Path, error: Exception) -> InputError:
    told = str(error).strip().partition("\n")[0]
    text = f"transformers cannot build this network: {type(error).__name__}: {told}"
    return InputError(text, where=str(path), hint=_BY_HAND)


def _checked(made: Any, text: str) -> Architecture:
    import torch

    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        model, inputs = made
        if isinstance(inputs, Mapping):
            return Architecture(model.eval(), (), dict(inputs))
        if isinstance(inputs, (tuple, list)):
            return Architecture(model.eval(), tuple(inputs), {})
        if isinstance(inputs, torch.Tensor):
            return Architecture(model.eval(), (inputs,), {})
    hint = "return (network, inputs): a torch.nn.Module, and a tuple of arguments or a mapping of them."
    raise RecipeError(f"`{text}` returned {type(made).__name__}", where="--model", hint=hint)


@contextlib.contextmanager
def _current_folder_first() -> Generator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _part(config: Any, name: str) -> Any:
    """The config of the part that reads text or pictures; of a model without parts its own."""
    return getattr(config, name, None) or config


def _number(config: Any, name: str) -> int:
    value = getattr(config, name, None)
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return value if isinstance(value, int) else 0


def _sides(config: Any) -> tuple[int, int]:
    value = config.image_size
    return (value[0], value[-1]) if isinstance(value, (list, tuple)) else (value, value)


def _with_picture(words: Tensor, config: Any, picture: Any) -> Tensor:
    """Behind the words one token for each patch of the picture, where a model reads both in one text (LLaVA)."""
    import torch

    token = _number(config, "image_token_id") or _number(config, "image_token_index")
    patch = _number(picture, "patch_size")
    if not token or not patch:
        return words
    height, width = _sides(picture)
    more = getattr(config, "vision_feature_select_strategy", "") == "full"
    patches = torch.full((1, (height // patch) * (width // patch) + more), token)
    return torch.cat([words.where(words != token, 0), patches], dim=1)


def _length(config: Any) -> int:
    return min(_LENGTH, _number(config, "max_position_embeddings") or _LENGTH)
