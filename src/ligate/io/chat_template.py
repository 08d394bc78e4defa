"""The chat template of a tokenizer: where transformers keeps it, and how another takes its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .documents import parse, read_bytes, read_object

FILE = "chat_template.jinja"
_OTHERS = ("chat_template.json", "chat_templates/default.jinja")
_CONFIG = "tokenizer_config.json"


def template_of(folder: Path) -> str | None:
    """The template in a model's folder: a file of its own, else what tokenizer_config.json holds."""
    if (folder / FILE).is_file():
        return _text(read_bytes(folder / FILE).decode("utf-8", errors="replace"))
    if (folder / "chat_template.json").is_file():
        return _text(read_object(folder / "chat_template.json").get("chat_template"))
    return _text(read_object(folder / _CONFIG).get("chat_template")) if (folder / _CONFIG).is_file() else None


def with_template(sidecars: Mapping[str, Path | bytes], template: str) -> dict[str, Path | bytes]:
    """The files beside the weights, by name, with this template in place of any other."""
    found = {name: content for name, content in sidecars.items() if name not in _OTHERS}
    config = found.get(_CONFIG)
    if config is not None:
        content = read_object(config) if isinstance(config, Path) else parse(config, dict)
        if content.pop("chat_template", None) is not None:
            found[_CONFIG] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return found | {FILE: template.encode()}


def _text(template: Any) -> str | None:
    """One template, or the one called `default` of several."""
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
    if isinstance(template, dict):
        template = template.get("default")
    return template.strip() or None if isinstance(template, str) else None
