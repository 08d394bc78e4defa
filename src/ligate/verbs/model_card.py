"""README.md of a result: what the Hub wants to know, the parents with their licences and digests, the recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import yaml

from ligate.engine.record import Record, model_digest

from .canonical import as_yaml
from .parents import Licence, Parent

NAME = "README.md"
_MARKUP = re.compile(r"([\\`*\[\]<>|#])")

T = TypeVar("T")


def model_card(record: Record, parents: Sequence[Parent]) -> str:
    """The text of the card; the same for the same merge."""
    head = front_matter(parents, ("merge", "ligate"))
    recipe = f"## Recipe\n\n{fenced(as_yaml(record.recipe))}"
    return "\n".join((head, _heading(record, parents), _parents(record, parents), recipe))


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


def front_matter(parents: Sequence[Parent], tags: Sequence[str]) -> str:
    """The lines that the Hub reads. Where the parents differ, or one of them is silent, they say nothing."""
    known = list(dict.fromkeys(parent.hub for parent in parents if parent.hub))
    facts: dict[str, Any] = {"base_model": known, "base_model_relation": "merge"} if known else {}
    whole = [parent for parent in parents if not parent.is_adapter]
    if library := _common(whole, lambda parent: parent.library):
        facts["library_name"] = library
    if task := _common(whole, lambda parent: parent.task):
        facts["pipeline_tag"] = task
    facts["tags"] = list(tags)
    if licence := _common(parents, lambda parent: parent.licence):
        facts |= _licence_facts(licence)
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n"


def _common(parents: Iterable[Parent], fact: Callable[[Parent], T | None]) -> T | None:
    """What all of them say; None where they differ or one is silent."""
    found = {fact(parent) for parent in parents}
    return found.pop() if len(found) == 1 else None


def _licence_facts(licence: Licence) -> dict[str, Any]:
    ids = licence.ids[0] if len(licence.ids) == 1 else list(licence.ids)
    own = {"license_name": licence.name, "license_link": licence.link}
    return {"license": ids, **{key: value for key, value in own.items() if value}}


def _heading(record: Record, parents: Sequence[Parent]) -> str:
    methods = sorted({entry.method for step in record.steps for entry in step.tensors.values() if entry.method})
    names = ", ".join(plain(parent.name) for parent in parents)
    how = f"by {', '.join(f'`{method}`' for method in methods)} " if methods else ""
    return (
        f"# Merge of {names}\n\n"
        f"Made {how}with [Ligate](https://pypi.org/project/ligate/) {record.versions['ligate']}. "
        f"`ligate verify` checks every tensor against `ligate.json`; `ligate replay` makes the same bytes again.\n"
    )


def _parents(record: Record, parents: Sequence[Parent]) -> str:
    rows = [
        f"| {plain(parent.name)} | {plain(str(parent.licence or 'not stated'))} | {_digest(record, parent.label)} |"
        for parent in parents
    ]
    return "\n".join(
        ("## Parents\n", "| model | licence | digest of its tensors |", "|---|---|---|", *rows, *notes(parents), "")
    )


def notes(parents: Sequence[Parent]) -> list[str]:
    """What a reader should know of the parents, below their table."""
    found: list[str] = []
    if note := licence_note(parents):
        found.append(f"\n**Licences:** {plain(note)}")
    strangers = [plain(parent.name) for parent in parents if not parent.hub]
    if strangers:  # a name alone would point to somebody else's model
        found.append(f"\nNot named under `base_model`, since they were given as local paths: {', '.join(strangers)}.")
    return found


def _digest(record: Record, label: str) -> str:
    read = record.input_digests(label)
    value = model_digest(read) if read else None
    return f"`{value}`" if value else "none taken"


def fenced(text: str) -> str:
    """YAML between lines of backticks, more of them than stand together in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}yaml\n{text}{fence}\n"


def plain(text: str) -> str:
    """On one line, and nothing in it is markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
