"""The models that a result is made of, and what their own cards say of them. Cards are text of strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ligate.core.errors import LigateError
from ligate.io.documents import read_bytes

_LIBRARIES = {
    "adapter_config.json": "peft",
    "model_index.json": "diffusers",
    "modules.json": "sentence-transformers",
    "config.json": "transformers",
}
"""A file in a model's folder -> the library that loads it; the first that is there counts."""

_LONGEST = 10_000_000  # bytes of a card
_TEXT = "tag:yaml.org,2002:str"
_WORDS = re.compile(r"[A-Za-z0-9][\w .+-]{0,95}")
_LINK = re.compile(r"[\w:/.?=&%#+~-]{1,300}")


class Licence(NamedTuple):
    """As a card names it: ids of the Hub's list; under `other` a name and a link of its own."""

    ids: tuple[str, ...]
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return self.name or ", ".join(self.ids)


class Parent(NamedTuple):
    """A model that went in: its label, its id on the Hub when it came from there, what its card says."""

    label: str
    hub: str | None
    licence: Licence | None = None
    library: str | None = None
    task: str | None = None
    is_adapter: bool = False

    @property
    def name(self) -> str:
        return self.hub or self.label


def parent(label: str, hub: str | None, folder: Path | None, *, is_adapter: bool = False) -> Parent:
    facts = _front_matter_of(folder / "README.md") if folder else {}
    library = _word(facts.get("library_name")) or (_library(folder) if folder else None)
    return Parent(label, hub, _licence(facts), library, _word(facts.get("pipeline_tag")), is_adapter)


def _library(folder: Path) -> str | None:
    return next((library for name, library in _LIBRARIES.items() if (folder / name).is_file()), None)


def _licence(facts: Mapping[str, Any]) -> Licence | None:
    told = facts.get("license")
    ids = [_word(one) for one in (told if isinstance(told, list) else [told])]
    if not ids or None in ids:
        return None
    name, link = _word(facts.get("license_name")), facts.get("license_link")
    link = link if isinstance(link, str) and _LINK.fullmatch(link) else None
    return Licence(tuple(word for word in ids if word), name, link)


def _word(value: Any) -> str | None:
    """A plain short text; anything else in its place is as good as nothing."""
    return value if isinstance(value, str) and _WORDS.fullmatch(value) else None


def _front_matter_of(path: Path) -> Mapping[str, Any]:
    """Its texts and lists of texts. Nothing else is built: tags and merged keys of a stranger can do anything."""
    try:
        text = read_bytes(path, _LONGEST).decode("utf-8").replace("\r\n", "\n")
    except (LigateError, OSError, UnicodeDecodeError):
        return {}
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    try:
        head = yaml.compose(text[4 : text.index("\n---", 3)], Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    pairs = head.value if isinstance(head, yaml.MappingNode) else []
    return {key.value: _texts(value) for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _texts(node: yaml.Node) -> str | list[str | None] | None:
    """A text or a list of texts; None for anything else."""
    return [_text(entry) for entry in node.value] if isinstance(node, yaml.SequenceNode) else _text(node)


def _text(node: yaml.Node) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT else None
