"""The files beside the weights: configuration, tokenizer, templates, code, licence. They come from one named donor."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from ligate.core.errors import InputError

from .config import DTYPE_KEYS, edited, tells_dtype
from .documents import read_object
from .folder import INDEX, listed_folders
from .quantised import CONFIG_KEYS
from .ranges import cannot_read, cannot_write, open_input

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_QUANTISED = tuple(f"{table}{key}" for table in ("", "text_config.") for key in CONFIG_KEYS)
_TEMPLATES = ("additional_chat_templates", "chat_templates")
_TOKENIZER = re.compile(
    r"tokenizer.*|tokenization_.*\.py|special_tokens_map\.json|added_tokens\.json|chat_template\..*|merges\.txt|dict\.txt"
    r"|(.*[_-])?vocab([_.-].*)?\.(json|txt|bpe)|(normalizer|tekken|emoji|byte_maps|word_shape|word_pronunciation)\.json"
    r"|.*\.(model|spm|tiktoken|vocab|bpe|codes|tokenizer)"
)
_TRAVELS = re.compile(r".*\.(json|txt|py|jinja)|(LICEN[CS]E|NOTICE|USE_POLICY|COPYING).*", re.IGNORECASE)
_STAYS = re.compile(
    rf"\..*|.*{re.escape(INDEX)}|ligate\.json|adapter_config\.json|trainer_state\.json|.*_results\.json"
    r"|quantize_config\.json|(training_args|optimizer|scheduler|rng_state).*\.(bin|pt|pth)",
)


def copy_sidecars(
    donor: Path, out: Path, *, tokenizer: Path | None = None, config_edits: Mapping[str, Any] = _NOTHING
) -> list[str]:
    """Put what `find_sidecars` finds into `out`; returns the names."""
    return place_sidecars(find_sidecars(donor, tokenizer=tokenizer, config_edits=config_edits), out)


def find_sidecars(
    donor: Path, *, tokenizer: Path | None = None, config_edits: Mapping[str, Any] = _NOTHING
) -> dict[str, Path | bytes]:
    """What will lie beside the weights: name -> the file it comes from, or its new content. Writes nothing.

    Everything is the donor's; with `tokenizer`, the tokenizer's files are all that folder's and none the donor's.
    """
    try:
        found = _travelling(donor)
        if tokenizer is not None and not _same(tokenizer, donor):
            found = {name: path for name, path in found.items() if not _is_tokenizer(name)}
            found |= _tokenizer_files(tokenizer)
    except OSError as error:
        raise cannot_read(donor, error) from None
    result: dict[str, Path | bytes] = dict(sorted(found.items()))
    if "config.json" in found:
        result["config.json"] = _edited_config(found["config.json"], config_edits)
    return result | {
        name: _edited_config(path, {key: config_edits[key] for key in DTYPE_KEYS if key in config_edits})
        for name, path in found.items()
        if name.endswith("/config.json") and tells_dtype(read_object(path))
    }


def place_sidecars(found: Mapping[str, Path | bytes], out: Path) -> list[str]:
    """Write these files into `out`, each by its name from a file or from the given content."""
    for name, content in found.items():
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                _pour(content, file)
        except OSError as error:
            raise cannot_write(path, error) from None
    return sorted(found)


def _travelling(folder: Path) -> dict[str, Path]:
    """Files of a model folder that are neither weights nor traces of training, in it and in its listed folders."""
    below = [*listed_folders(folder), *(path for name in _TEMPLATES if (path := folder / name).is_dir())]
    found: dict[str, Path] = {}
    for place in (folder, *below):
        for path in sorted(place.iterdir()):
            if _travels(path.name) and not path.is_dir():
                found[path.relative_to(folder).as_posix()] = _checked(path, folder)
    return found


def _tokenizer_files(folder: Path) -> dict[str, Path]:
    found = {name: path for name, path in _travelling(folder).items() if _is_tokenizer(name)}
    if not found:
        raise InputError(
            "holds no tokenizer",
            where=str(folder),
            hint="take the tokenizer from another model or leave the setting out.",
        )
    return found


def _travels(name: str) -> bool:
    return bool(_TRAVELS.fullmatch(name) or _TOKENIZER.fullmatch(name)) and not _STAYS.fullmatch(name)


def _is_tokenizer(name: str) -> bool:
    return bool(_TOKENIZER.fullmatch(name)) or name.startswith(tuple(f"{folder}/" for folder in _TEMPLATES))


def _checked(path: Path, folder: Path) -> Path:
    """A regular file in the folder, or where the Hub's cache keeps it; a link elsewhere could leak anything."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not real.is_relative_to(home) and not real.is_relative_to(home.parent.parent / "blobs"):
        raise InputError(
            f"is a link that leaves the model's folder (to {real})",
            where=str(path),
            hint="if its content may travel with the result, put a copy in place of the link.",
        )
    os.close(open_input(path)[0])
    return path


def _edited_config(path: Path, edits: Mapping[str, Any]) -> Path | bytes:
    """The config as it is where nothing changes. A result is never quantised, so it does not say that it is."""
    config = read_object(path)
    quantised = {place: None for place in _QUANTISED if _tells(config, place.split("."))}
    if not edits and not quantised:
        return path
    try:
        config = edited(config, {**quantised, **edits})
    except InputError as error:
        raise error.inside(file=path) from None
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


def _tells(config: Any, path: Sequence[str]) -> bool:
    if not path:
        return True
    return isinstance(config, dict) and path[0] in config and _tells(config[path[0]], path[1:])


def _pour(content: Path | bytes, file: BinaryIO) -> None:
    if isinstance(content, bytes):
        file.write(content)
        return
    with os.fdopen(open_input(content)[0], "rb") as original:
        shutil.copyfileobj(original, file)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
