"""README.md of a result: what the Hub wants to know, the parents with their licences and digests, the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ligate.engine.record import Record, model_digest

from .canonical import as_yaml

NAME = "README.md"


class Parent(NamedTuple):
    """A model that went in: its label, its id on the Hub when it came from there, the licence its card names."""

    label: str
    hub: str | None
    licence: str | None

    @property
    def name(self) -> str:
        return self.hub or self.label


def parent(label: str, hub: str | None, folder: Path | None) -> Parent:
    return Parent(label, hub, _licence(folder) if folder else None)


def model_card(record: Record, parents: Sequence[Parent]) -> str:
    """The text of the card; the same for the same merge."""
    return "\n".join((_front_matter(parents), _heading(record, parents), _parents(record, parents), _recipe(record)))


def licence_note(parents: Sequence[Parent]) -> str | None:
    """What somebody who publishes the result must settle first; None when all parents agree."""
    known = {parent.licence for parent in parents if parent.licence}
    silent = [parent.name for parent in parents if not parent.licence]
    if len(known) > 1:
        told = ", ".join(f"{parent.name}: {parent.licence}" for parent in parents if parent.licence)
        return f"the parents have different licences ({told}): settle which terms hold before you publish the result."
    if known and silent:
        return f"no licence is known of {', '.join(silent)}; the other parents have {known.pop()}."
    return None


def _front_matter(parents: Sequence[Parent]) -> str:
    known = [parent.hub for parent in parents if parent.hub]  # another name would point to a stranger's model
    facts: dict[str, Any] = {"base_model": known, "base_model_relation": "merge"} if known else {}
    facts |= {"library_name": "transformers", "tags": ["merge", "ligate"]}
    licences = {parent.licence for parent in parents}
    if len(licences) == 1 and None not in licences:
        facts["license"] = licences.pop()
    elif len(licences - {None}) > 1:
        facts["license"] = "other"
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n"


def _heading(record: Record, parents: Sequence[Parent]) -> str:
    methods = sorted({entry.method for step in record.steps for entry in step.tensors.values() if entry.method})
    names = ", ".join(parent.name for parent in parents)
    how = f"by {', '.join(f'`{method}`' for method in methods)} " if methods else ""
    return (
        f"# Merge of {names}\n\n"
        f"Made {how}with [Ligate](https://pypi.org/project/ligate/) {record.versions['ligate']}. "
        f"`ligate verify` checks every tensor against `ligate.json`; `ligate replay` makes the same bytes again.\n"
    )


def _parents(record: Record, parents: Sequence[Parent]) -> str:
    rows = [
        f"| {parent.name} | {parent.licence or 'not stated'} | {_digest(record, parent.label)} |" for parent in parents
    ]
    note = licence_note(parents)
    warning = [f"\n**Licences:** {note}"] if note else []
    return "\n".join(
        ("## Parents\n", "| model | licence | digest of its tensors |", "|---|---|---|", *rows, *warning, "")
    )


def _digest(record: Record, label: str) -> str:
    read = record.input_digests(label)
    value = model_digest(read) if read else None
    return f"`{value}`" if value else "none taken"


def _recipe(record: Record) -> str:
    return f"## Recipe\n\n```yaml\n{as_yaml(record.recipe)}```\n"


def _licence(folder: Path) -> str | None:
    """The `license` in the front matter of a model's card."""
    facts = _front_matter_of(folder / NAME)
    name = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
    return str(name) if isinstance(name, str) and name else None


def _front_matter_of(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    try:
        facts = yaml.safe_load(text[4 : text.index("\n---", 3)])
    except (yaml.YAMLError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
