"""Domains of text for small language models: package descriptions in three languages, Python and C source code.

The translations are parallel: a description and its translations share a name, so they fall into the same part of the
split. Code is the library of the running Python and the C and C++ headers of the system and of torch.

Near-duplicates are the trap of such texts: licences, templates with another name in them, sentences that all packages
of a family share. So a paragraph goes, before anything is split, when half of its runs of three words were seen before,
in whatever document of whatever domain.
"""

from __future__ import annotations

import re
import sysconfig
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ligate.bench.kept import digest_of
from ligate.bench.suites.debian import apt
from ligate.bench.texts import Split
from ligate.core.errors import InputError

LANGUAGES: Mapping[str, str] = {"english": "en", "german": "de", "french": "fr"}
PYTHON, C = "python", "c"
CODE = (PYTHON, C)

_VALIDATION, _TEST = 0.1, 0.15  # the rest is for training
_RUN = 3  # words
_LONGEST = 6000  # characters of a document that are used, lest few long files fill a domain
_WORD = re.compile(r"[^\W\d_]+")
_HEADERS = (".h", ".hh", ".hpp")
_NOT_PYTHONS_OWN = ("site-packages", "dist-packages", "__pycache__")


class Document(NamedTuple):
    """A text, and the name it shares with its translations."""

    source: str
    text: str


@dataclass(frozen=True)
class Domain:
    name: str
    documents: Mapping[Split, Sequence[Document]]

    @property
    def digest(self) -> str:
        parts = ([split, *each] for split, documents in self.documents.items() for each in documents)
        return digest_of([self.name, *(text for part in parts for text in part)])

    def told(self) -> str:
        """How much there is, in words."""
        sizes = {part: (len(each), sum(len(one.text) for one in each)) for part, each in self.documents.items()}
        return ", ".join(f"{part} {count} documents, {size / 1e6:.2f} M" for part, (count, size) in sizes.items())


def domains(names: Sequence[str], limit: int, store: Path) -> list[Domain]:
    """Each with about `limit` bytes of text. apt fetches descriptions into `store`; code is on every machine.

    Raises:
        InputError: descriptions are wanted and there is no apt, or a domain has too little text.
    """
    languages = [LANGUAGES[name] for name in names if name in LANGUAGES]
    lists = apt.lists(store, languages) if languages else None
    seen: set[int] = set()
    found: list[Domain] = []
    for name in names:
        if lists is not None and name in LANGUAGES:
            candidates = _descriptions(lists, LANGUAGES[name])
        else:
            candidates = _files(_code(name))
        chosen = list(_within(limit, without_repeats(candidates, seen)))
        size = sum(len(each.text.encode()) for each in chosen)
        if size < limit // 2:
            raise InputError(
                f"there are only {size / 1e6:.2f} MB of text for `{name}`; {limit / 2e6:.2f} MB are needed",
                where="bench lm",
                hint="a smaller tier needs less; headers come with libc6-dev or torch, Python's library with Python.",
            )
        found.append(Domain(name, split(chosen)))
    return found


def split(documents: Iterable[Document]) -> dict[Split, list[Document]]:
    """By a digest of the name alone: the same names fall into the same parts everywhere."""
    parts: dict[Split, list[Document]] = {"train": [], "validation": [], "test": []}
    for one in documents:
        parts[_part(one.source)].append(one)
    return parts


def _part(source: str) -> Split:
    place = int(digest_of(["split", source])[:8], 16) / 16**8
    if place < _VALIDATION:
        return "validation"
    return "test" if place < _VALIDATION + _TEST else "train"


def without_repeats(documents: Iterable[Document], seen: set[int]) -> Iterator[Document]:
    """Documents without the paragraphs that say what was said before; `seen` remembers runs of words.

    >>> shared = "This package has the files that do not depend on the machine"
    >>> texts = [Document("a", f"{shared}, such as icons and sounds for players of foo."),
    ...          Document("b", f"Owls fly at night.\\n\\n{shared}, such as icons and sounds for players of bar.")]
    >>> [one.text[:18] for one in without_repeats(texts, set())]
    ['This package has t', 'Owls fly at night.']
    """
    for one in documents:
        paragraphs = [each for each in one.text[:_LONGEST].split("\n\n") if _is_new(each, seen)]
        if paragraphs:
            yield Document(one.source, "\n\n".join(paragraphs))


def _is_new(paragraph: str, seen: set[int]) -> bool:
    """Whether most of its runs were never seen; now they all were. A paragraph without words is not worth reading."""
    words = _WORD.findall(paragraph.lower())
    if not words:
        return False
    starts = range(max(1, len(words) - _RUN + 1))
    marks = {zlib.crc32(" ".join(words[i : i + _RUN]).encode()) for i in starts}
    fresh = len(marks - seen)
    seen |= marks
    return 2 * fresh > len(marks)


def _within(limit: int, documents: Iterable[Document]) -> Iterator[Document]:
    """From the start, until there are so many bytes."""
    size = 0
    for one in documents:
        if size >= limit:
            return
        size += len(one.text.encode())
        yield one


def _descriptions(lists: apt.Lists, language: str) -> list[Document]:
    """One for each description, in an order that has nothing to do with names of packages."""
    found: dict[str, str] = {}
    for path in lists.descriptions[language]:
        for stanza in apt.stanzas(path):
            text = stanza.get(f"Description-{language}", "")
            found.setdefault(stanza.get("Description-md5", ""), re.sub(r"^\.$", "", text, flags=re.MULTILINE))
    return [Document(source, found[source]) for source in sorted(found, key=_mixed)]


def _code(name: str) -> dict[str, Path]:
    """Files by names that are the same on machines with the same software."""
    if name == PYTHON:
        library = Path(sysconfig.get_path("stdlib"))
        files = {f"{PYTHON}/{_under(library, path)}": path for path in library.rglob("*.py")}
        return {each: path for each, path in files.items() if not set(_NOT_PYTHONS_OWN) & set(each.split("/"))}
    torch = find_spec("torch")
    places = [Path("/usr/include")]
    places += [Path(each) / "include" for each in (torch.submodule_search_locations or [] if torch else [])]
    return {
        f"{C}/{_under(place, path)}": path
        for place in places
        for path in place.rglob("*.h*")
        if path.suffix in _HEADERS
    }


def _files(paths: Mapping[str, Path]) -> Iterator[Document]:
    """Read one by one, so that only what is used is read."""
    for source in sorted(paths, key=_mixed):
        try:
            yield Document(source, paths[source].read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a file for tests of bad files, a dangling link


def _mixed(source: str) -> str:
    return digest_of(["order", source])


def _under(place: Path, path: Path) -> str:
    return path.relative_to(place).as_posix()
