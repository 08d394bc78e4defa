"""Networks of transformers and their tokenizers, loaded from folders on this disk, and their weights.

No code of a model is ever run (`trust_remote_code` is off), and pickles are read as plain weights only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError, LigateError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SHOWN = 3  # tensors named in a message


class Loaded(NamedTuple):
    """A model as transformers made it; `missing` are names that its folder did not have, filled with chance."""

    model: torch.nn.Module
    missing: frozenset[str]


def require_transformers(place: object) -> None:
    """Raises InputError where transformers is not installed."""
    if find_spec("transformers") is None:
        hint = "`pip install 'ligate[learn]'`."
        raise InputError("to ask networks takes the library transformers", where=str(place), hint=hint)


def require_known(folder: Path) -> None:
    """Whether transformers itself has the code of the model; code that lies in the folder is not run."""
    from transformers import AutoConfig

    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError:
        hint = "a model folder has config.json, weights and a tokenizer; adapters are merged into their base first."
        raise InputError("has no config.json", where=str(folder), hint=hint) from None
    except ValueError as error:
        raise InputError(f"config.json cannot be read: {error}", where=str(folder)) from None
    try:
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        own = "auto_map" in told
        reason = "brings its own code, which is not run" if own else str(error).partition("\n")[0]
        raise InputError(f"transformers does not know this model: {reason}", where=str(folder)) from error


def load(kind: Any, folder: Path, **settings: Any) -> Loaded:
    """By an Auto class of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, told = kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True, **settings
        )
    except Exception as error:  # many kinds, by architecture and file format
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"transformers cannot load this as {kind.__name__}: {reason}", where=str(folder)) from error
    missing = set(told["missing_keys"]) | {str(each[0]) for each in told["mismatched_keys"]}
    return Loaded(model.eval(), frozenset(missing))


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # many kinds, by tokenizer
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"its tokenizer cannot be loaded: {reason}", where=str(folder)) from error


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Every tensor of a model once: what is tied to an earlier one is left out, as in files."""
    doubles = tied(model)
    return {name: value.detach() for name, value in model.state_dict().items() if name not in doubles}


def tied(model: torch.nn.Module) -> dict[str, str]:
    """Names of tensors that are another one, with the name of that."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    found: dict[str, str] = {}
    for name, value in model.state_dict().items():
        key = (value.data_ptr(), tuple(value.shape))
        if value.numel() and key in first:
            found[name] = first[key]
        first.setdefault(key, name)
    return found


def set_weights(model: torch.nn.Module, state: Mapping[str, Tensor], doubles: Mapping[str, str]) -> None:
    """In float32, without a copy for weights that are. `doubles` is what was tied when the model was made.

    Raises:
        InputError: these are not the tensors of the model.
    """
    known = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    whole = {**known, **{name: known[first] for name, first in doubles.items() if first in known}}
    try:
        model.load_state_dict(whole, assign=True)
    except RuntimeError as error:
        raise InputError(f"these weights do not fit the network: {error}", where="network") from error


def unlike(
    label: str, place: object, shapes: Mapping[str, Sequence[int]], other: str, wanted: Mapping[str, Sequence[int]]
) -> list[LigateError]:
    """What keeps a model from being merged with another, as an error or none."""
    if not wanted:
        return []
    more, fewer = sorted(shapes.keys() - wanted.keys()), sorted(wanted.keys() - shapes.keys())
    other_shape = sorted(name for name in shapes.keys() & wanted.keys() if tuple(shapes[name]) != tuple(wanted[name]))
    parts = [_listed(more, "has"), _listed(fewer, "lacks")]
    parts += [f"`{name}` is {list(shapes[name])}, not {list(wanted[name])}" for name in other_shape[:_SHOWN]]
    told = "; ".join(filter(None, parts))
    if not told:
        return []
    hint = "all models of a comparison have the same architecture and vocabulary."
    return [InputError(f"model `{label}` differs from `{other}`: {told}", where=str(place), hint=hint)]


def _listed(names: Sequence[str], verb: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{verb} {', '.join(f'`{name}`' for name in names[:_SHOWN])}{more}" if names else ""
