"""Real text that is on every machine which runs the demo: the docstrings of the installed libraries themselves.

Source files are read with `ast` and never imported. The same versions of the libraries give the same texts on every
system: files are ordered by a hash of their path, and nothing else decides what is kept.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ligate.core.errors import InputError

Split = Literal["train", "validation", "test"]
Kind = Literal["module", "class", "function", "method", "test"]

WORDS = 48  # a text is cut after so many words
_FEWEST_WORDS = 8
_FILE_BYTES = 300_000  # larger files are generated tables
_RUN = 4  # words in a row that are looked up to recognise a template
_NEW = 0.5  # share of a text's word runs that must be new

# Where prose ends: section titles of the three docstring styles in use, examples, directives, rules of dashes.
_SECTION = re.compile(
    r"^\s*(>>>|\.\. |:param|:return|:rtype|```|[-=~]{3,}\s*$|[\w*]+ \(`|"
    r"(parameters?|args?|arguments|keyword args|attributes|returns?|yields?|raises?|examples?|notes?|references|"
    r"see also|inputs?|outputs?|shape|usage|explanation|methods|warnings?|tips?)\s*(:|$))",
    re.IGNORECASE,
)
_TEST = re.compile(r"(^|/)(tests?/|test_|conftest)")
_ROLE = re.compile(r":[a-z:+]+:`~?([^`<]*)[^`]*`")
_MARKUP = re.compile(r"[`*|]+|\[`?~?([\w.]+)`?\](?:\([^)]*\))?|https?://\S+")


class Docstring(NamedTuple):
    """Prose of one docstring, where it stands, and what the syntax tree says it describes."""

    text: str
    library: str
    path: str  # below site-packages, with forward slashes
    kind: Kind
    split: Split


def library_folders(names: Iterable[str]) -> dict[str, Path]:
    """Where the libraries are installed; InputError names one that is missing."""
    folders: dict[str, Path] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the demo reads the docstrings of `{name}`, which is not installed",
                where="demo",
                hint="install the extra: pip install 'ligate[demo]'",
            )
        folders[name] = Path(spec.submodule_search_locations[0])
    return folders


def source_files(folder: Path) -> list[str]:
    """Python files of one library as `library/sub/file.py`, in an order that depends on their names alone."""
    paths = (path for path in folder.rglob("*.py") if path.stat().st_size <= _FILE_BYTES)
    return sorted((path.relative_to(folder.parent).as_posix() for path in paths), key=_digest)


def split_of(path: str) -> Split:
    """70 % train, 10 % validation, 20 % test by the hash of the path, so one file is never in two of them."""
    place = int(_digest(path)[:8], 16) % 10
    return "train" if place < 7 else "validation" if place == 7 else "test"


def docstrings(folder: Path, paths: Sequence[str], blanked: Mapping[str, str]) -> Iterator[Docstring]:
    """The docstrings of the files in the order of the paths, names of libraries replaced as `blanked` says."""
    blank = re.compile(rf"\b({'|'.join(map(re.escape, sorted(blanked, key=len, reverse=True)))})\b", re.IGNORECASE)
    for path in paths:
        for kind, raw in _described(_parsed(folder.parent / path), is_test=bool(_TEST.search(path))):
            text = blank.sub(lambda hit: blanked[hit[0].lower()], prose(raw))
            if len(text.split()) >= _FEWEST_WORDS:
                yield Docstring(text, folder.name, path, kind, split_of(path))


def prose(raw: str) -> str:
    """The first words of a docstring up to its first section, without markup."""
    lines: list[str] = []
    for line in inspect.cleandoc(raw).splitlines():
        if _SECTION.match(line):
            # A row of dashes underlines the title before it; the title is no prose either.
            if re.match(r"^\s*[-=~]{3,}\s*$", line) and lines:
                lines.pop()
                if not any(map(str.strip, lines)):
                    continue
            break
        lines.append(line)
    text = _ROLE.sub(r"\1", " ".join(lines))
    text = _MARKUP.sub(lambda hit: hit[1] or " ", text)
    return " ".join(text.split()[:WORDS])


def without_templates(found: Iterable[Docstring]) -> list[Docstring]:
    """Only texts at least half of whose runs of four words have not been seen before.

    Removes equal texts, and families that differ in a name or a number only: they would make the test split easy.
    """
    seen: set[int] = set()
    kept: list[Docstring] = []
    for item in found:
        words = re.sub(r"\d+", "0", item.text.lower()).split()
        runs = {hash_of_words(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))}
        if len(runs - seen) > _NEW * len(runs):
            kept.append(item)
        seen |= runs
    return kept


def hash_of_words(words: Sequence[str]) -> int:
    return int.from_bytes(hashlib.blake2s(" ".join(words).encode(), digest_size=8).digest(), "little")


def _parsed(path: Path) -> ast.Module:
    """The syntax tree; an empty one for templates and files of other Python versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other people's escape sequences
        try:
            return ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return ast.Module([], [])


def _described(tree: ast.Module, *, is_test: bool) -> Iterator[tuple[Kind, str]]:
    """(kind, docstring) of the module and of everything defined in it, in the order of the source."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, in_class = waiting.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            raw = ast.get_docstring(node, clean=False)
            if raw:
                yield _kind(node, in_class=in_class, is_test=is_test), raw
        inside = isinstance(node, ast.ClassDef)
        waiting.extend((child, inside) for child in reversed(_statements(node)))


def _statements(node: ast.AST) -> list[ast.AST]:
    """Statements directly inside a statement; expressions define nothing that has a docstring."""
    blocks: Iterable[list[ast.AST]] = (getattr(node, name, []) for name in ("body", "handlers", "orelse", "finalbody"))
    return [child for block in blocks if isinstance(block, list) for child in block]


def _kind(node: ast.AST, *, in_class: bool, is_test: bool) -> Kind:
    if is_test:
        return "test"
    if isinstance(node, ast.Module):
        return "module"
    if isinstance(node, ast.ClassDef):
        return "class"
    return "method" if in_class else "function"


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=16).hexdigest()
