"""The user's networks: found on this disk, compared tensor by tensor before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ligate.bench.kept import digest_of, folder_digest, settle, stamp
from ligate.bench.suite import State, Trained
from ligate.bench.suites.own.config import Config, Model
from ligate.bench.weights import write_weights
from ligate.core.errors import InputError, LigateError
from ligate.core.suggest import nearest
from ligate.io import open_source
from ligate.io.locate import locate
from ligate.tasks.loading import load, require_known, tokenizer_of, unlike

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./+-]+)?")


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
        require_known(folder)
    except LigateError as error:
        if not local:
            error.hint = f"nothing is fetched during a run; `hf download {model.path}` beforehand."
        raise error.inside(model=f"{model.label} ({model.place})") from None
    return folder


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
        problems += unlike(model.label, model.place, shapes, models[0][0].label, first)
    return problems


def kept_part(config: Config, store: Path, model: Model, folder: Path, part: Callable[[], State]) -> Trained:
    """A folder with the tensors of a model that are merged, for models that have others besides."""
    state = part()
    key = digest_of(["part", folder_digest(folder), *(f"{name} {tuple(one.shape)}" for name, one in state.items())])
    place = store / "parts" / key
    if stamp(place, key) is None:
        settle(place, key, {"label": model.label, "of": config.name}, lambda out: write_weights(state, out))
    return trained(model, place)
