"""The user's networks: found on this disk, compared tensor by tensor before anything runs, loaded by transformers.

No code of a model is ever run (`trust_remote_code` is off), and pickles are read as plain weights only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.bench.kept import digest_of, folder_digest, settle, stamp
from ligate.bench.suite import State, Trained
from ligate.bench.suites.own.config import Config, Model
from ligate.bench.weights import write_weights
from ligate.core.errors import InputError, LigateError
from ligate.core.suggest import nearest
from ligate.io import open_source
from ligate.io.locate import locate

if TYPE_CHECKING:
    import torch

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./+-]+)?")
_SHOWN = 3  # tensors named in a message


class Loaded(NamedTuple):
    """A model as transformers made it; `missing` are names that its folder did not have, filled with chance."""

    model: torch.nn.Module
    missing: frozenset[str]


def located(config: Config) -> tuple[dict[str, Path], list[LigateError]]:
    """The folder of each model by label, and what is wrong with the others."""
    found: dict[str, Path] = {}
    problems: list[LigateError] = []
    for model in config.models:
        try:
            found[model.label] = folder_of(config, model)
        except LigateError as error:
            problems.append(error)
    return found, problems


def folder_of(config: Config, model: Model) -> Path:
    """Where a model lies: beside the file, or in the local cache of the Hub."""
    place = config.folder / Path(model.path).expanduser()
    local = model.path.startswith((".", "/", "~")) or place.parent.is_dir() or not _HUB_ID.fullmatch(model.path)
    if local and not place.is_dir():
        beside = sorted(one.name for one in place.parent.glob("*/")) if place.parent.is_dir() else []
        hint = nearest(place.name, beside) if beside else f"paths start at {config.folder.absolute()}."
        raise InputError(
            f"there is no folder '{model.path}' of model `{model.label}`", where=str(model.place), hint=hint
        )
    try:
        folder = place if place.is_dir() else locate(model.path)
        _known(folder)
    except LigateError as error:
        if not local:
            error.hint = f"nothing is fetched during a run; `hf download {model.path}` beforehand."
        raise error.inside(model=f"{model.label} ({model.place})") from None
    return folder


def _known(folder: Path) -> None:
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


def trained(model: Model, folder: Path) -> Trained:
    return Trained(model.label, folder, model.examples or 1, 0.0)


def check_encoder(model: Model, folder: Path) -> None:
    """Raises InputError for a folder that is no text encoder, or lacks tensors of one."""
    from transformers import AutoModel

    tokenizer_of(folder)
    missing = [name for name in load(AutoModel, folder).missing if "pooler" not in name]  # which is not used
    if missing:
        raise InputError(f"model `{model.label}` lacks `{min(missing)}` of an encoder", where=str(model.place))


def check_tensors(models: Sequence[tuple[Model, Path]]) -> list[LigateError]:
    """Every model has the tensors of the first, by name and shape."""
    problems: list[LigateError] = []
    first: Mapping[str, tuple[int, ...]] = {}
    for number, (model, folder) in enumerate(models):
        try:
            with closing(open_source(str(folder), label=model.label)) as source:
                shapes = {name: each.shape for name, each in source.headers().items()}
        except LigateError as error:
            problems.append(error)
            continue
        first = shapes if number == 0 else first
        problems += unlike(model, shapes, models[0][0].label, first)
    return problems


def unlike(
    model: Model, shapes: Mapping[str, Sequence[int]], other: str, wanted: Mapping[str, Sequence[int]]
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
    return [InputError(f"model `{model.label}` differs from `{other}`: {told}", where=str(model.place), hint=hint)]


def _listed(names: Sequence[str], verb: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{verb} {', '.join(f'`{name}`' for name in names[:_SHOWN])}{more}" if names else ""


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


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
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


def set_weights(model: torch.nn.Module, state: State, doubles: Mapping[str, str]) -> None:
    """In float32, without a copy for weights that are. `doubles` is what was tied when the model was made.

    Raises:
        InputError: these are not the tensors of the model.
    """
    known = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    whole = {**known, **{name: known[first] for name, first in doubles.items() if first in known}}
    try:
        model.load_state_dict(whole, assign=True)
    except RuntimeError as error:
        raise InputError(f"these weights do not fit the network: {error}", where="bench own") from error


def kept_part(config: Config, store: Path, model: Model, folder: Path, part: Callable[[], State]) -> Trained:
    """A folder with the tensors of a model that are merged, for models that have others besides."""
    state = part()
    key = digest_of(["part", folder_digest(folder), *(f"{name} {tuple(one.shape)}" for name, one in state.items())])
    place = store / "parts" / key
    if stamp(place, key) is None:
        settle(place, key, {"label": model.label, "of": config.name}, lambda out: write_weights(state, out))
    return trained(model, place)
