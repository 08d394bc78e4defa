"""Packages of a Debian index as the text tasks see them: a description, and the fields that tell its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ligate.bench.suites.debian.apt import Lists, stanzas

_WORDS = 60  # of a text; encoders cut further
_LANGUAGE = "en"


class Package(NamedTuple):
    """What one entry says; `text` is its short description and the beginning of its long one."""

    name: str
    source: str
    section: str
    tags: Sequence[str]
    maintainer: str
    depends: Sequence[str]  # names only, alternatives included
    built_using: Sequence[str]  # sources whose code is inside
    text: str


def packages(lists: Lists) -> Iterator[Package]:
    """Every package that has an English description, once, in the order of the index."""
    texts = _descriptions(lists)
    seen: set[str] = set()
    for path in lists.packages:
        for entry in stanzas(path):
            text = texts.get(entry.get("Description-md5", ""))
            name = entry.get("Package", "")
            if text and name not in seen:
                seen.add(name)
                yield _package(name, text, entry)


def _package(name: str, text: str, entry: Mapping[str, str]) -> Package:
    return Package(
        name,
        source=entry.get("Source", name).partition(" ")[0],
        section=entry.get("Section", "").rpartition("/")[2],  # "contrib/games" is games, too
        tags=entry.get("Tag", "").replace(",", " ").split(),
        maintainer=entry.get("Maintainer", ""),
        depends=_names(entry, "Pre-Depends", "Depends"),
        built_using=_names(entry, "Built-Using", "Static-Built-Using"),
        text=text,
    )


def _names(entry: Mapping[str, str], *fields: str) -> Sequence[str]:
    """Of `python3:any (>= 3.9), perl | awk`: python3, perl, awk."""
    parts = (part for field in fields for part in re.split(r"[,|]", entry.get(field, "")))
    return [re.split(r"[\s:(]", part.strip(), maxsplit=1)[0] for part in parts if part.strip()]


def _descriptions(lists: Lists) -> Mapping[str, str]:
    field = f"Description-{_LANGUAGE}"
    return {
        entry["Description-md5"]: _text(entry[field])
        for path in lists.descriptions[_LANGUAGE]
        for entry in stanzas(path)
        if "Description-md5" in entry and field in entry
    }


def _text(description: str) -> str:
    short, _, long = description.partition("\n")
    lines = [line.strip() for line in long.splitlines() if line.strip() != "."]  # a full stop alone ends a paragraph
    return " ".join(f"{short}. {' '.join(lines)}".split()[:_WORDS])
