"""Eight questions about Debian packages, to be answered from their descriptions.

The labels are not taken from the descriptions, but from other fields of the index: the section, the tags that people
gave by hand, the libraries and interpreters a program depends on, the team that maintains it. The task is not visible
in the text: a merged network must answer all questions from one embedding.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ligate.bench import texts
from ligate.bench.kept import code_digest, digest_of
from ligate.bench.suites.debian.apt import Lists, lists
from ligate.bench.suites.debian.packages import Package, packages
from ligate.bench.texts import Corpus, Question, Split, TextTask
from ligate.core.errors import InputError, StorageError

_CODE = ("suites/debian/apt.py", "suites/debian/facets.py", "suites/debian/packages.py", "texts.py")
_SPLITS: Mapping[Split, int] = {"train": 70, "validation": 80, "test": 100}  # each up to this percentile
_RUN = 4  # words
_LIBRARIES = re.compile(  # sections without programs
    "cli-mono|debug|devel|doc|gnu-r|golang|haskell|introspection|java|javascript|libdevel|libs|lisp|localization"
    "|metapackages|ocaml|oldlibs|perl|php|python|ruby|rust|tasks"
)


class Facet(NamedTuple):
    """A question: the values of a package that tell its class, and class -> (phrase, pattern of such values)."""

    name: str
    values: Callable[[Package], Iterable[str]]
    choices: Mapping[str, tuple[str, str]]


class Labelled(NamedTuple):
    """A package that has one class only."""

    package: Package
    label: str


def corpus(store: Path) -> Corpus:
    """The eight tasks of the release this system has its packages from; built once, then read from the store.

    Raises:
        InputError: there is no package index, or a task has fewer than two classes in it.
        StorageError: the store cannot be written.
    """
    index = lists(store)
    files = [*index.packages, *(path for paths in index.descriptions.values() for path in paths)]
    key = digest_of([code_digest(_CODE), *(part for path in files for part in (path.name, path.read_bytes()))])
    kept = store / f"facets-{key}.json"
    if not kept.is_file():
        built = _built(index)
        try:
            texts.save(built, kept)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(kept)) from error
    return texts.read(kept)


def _built(index: Lists) -> Corpus:
    entries = sorted(packages(index), key=lambda package: digest_of([package.name]))
    where = ", ".join(str(path) for path in index.packages)
    tasks = [_task(facet, entries, where) for facet in FACETS]
    releases = dict.fromkeys(path.name.partition("_dists_")[2].partition("_")[0] for path in index.packages)
    facts = {"release": ", ".join(releases), "packages": str(len(entries)), "digest": Corpus(tasks, {}).digest}
    return Corpus(tasks, facts)


def _task(facet: Facet, entries: Sequence[Package], where: str) -> TextTask:
    chosen = _without_templates(_without_copies(_one_of_a_source(_labelled(facet, entries))))
    chosen.sort(key=lambda one: digest_of([facet.name, one.package.source, one.label]))
    parts: dict[Split, list[Labelled]] = {part: [] for part in _SPLITS}
    for one in chosen:
        parts[split_of(one.package.source)].append(one)
    usable = {one.label for one in parts["train"]} & {one.label for one in parts["test"]}
    classes = [name for name in facet.choices if name in usable]
    if len(classes) < 2:
        raise InputError(
            f"the task `{facet.name}` needs examples of two classes to train and test, and has those of "
            f"{len(classes)} ({', '.join(classes) or 'none'}): {len(chosen)} of {len(entries)} packages have a label",
            where=where,
            hint="the tasks are made for the main archive of a Debian release with its tens of thousands of packages.",
        )
    questions: Mapping[Split, Sequence[Question]] = {part: _questions(found, classes) for part, found in parts.items()}
    return TextTask(facet.name, tuple(classes), tuple(facet.choices[name][0] for name in classes), questions)


def _questions(found: Iterable[Labelled], classes: Sequence[str]) -> Sequence[Question]:
    number = {name: place for place, name in enumerate(classes)}
    return [Question(one.package.text, one.package.source, number[one.label]) for one in found if one.label in number]


def split_of(source: str) -> Split:
    """The same for every package of a source, in every task."""
    percentile = int(digest_of(["split", source]), 16) % 100
    return next(part for part, end in _SPLITS.items() if percentile < end)


def _labelled(facet: Facet, entries: Iterable[Package]) -> Iterator[Labelled]:
    @cache
    def classes(value: str) -> frozenset[str]:
        return frozenset(name for name, (_, pattern) in facet.choices.items() if re.fullmatch(pattern, value))

    for package in entries:
        found = frozenset[str]().union(*map(classes, facet.values(package)))
        if len(found) == 1:
            yield Labelled(package, *found)


def _one_of_a_source(found: Iterable[Labelled]) -> Sequence[Labelled]:
    """The first package of each source and class, so that large sources do not dominate."""
    first: dict[tuple[str, str], Labelled] = {}
    for one in found:
        first.setdefault((one.package.source, one.label), one)
    return list(first.values())


def _without_copies(found: Iterable[Labelled]) -> list[Labelled]:
    """One of those that say the same; none if they say it of different classes."""
    alike: dict[str, list[Labelled]] = defaultdict(list)
    for one in found:
        alike[_skeleton(one.package)].append(one)
    return [group[0] for group in alike.values() if len({one.label for one in group}) == 1]


def _without_templates(found: Iterable[Labelled]) -> list[Labelled]:
    """Only texts at least half of whose runs of four words are new in their class.

    Families of packages share most of their descriptions: some in training and some in test would make the test easy.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    kept: list[Labelled] = []
    for one in found:
        words = _words(one.package.text)
        runs = {" ".join(words[start : start + _RUN]) for start in range(max(1, len(words) - _RUN + 1))}
        if 2 * len(runs - seen[one.label]) >= len(runs):
            kept.append(one)
        seen[one.label] |= runs
    return kept


def _skeleton(package: Package) -> str:
    """A text without numbers and its own name: the same for two versions or two translations of a thing."""
    own = frozenset(_words(f"{package.name} {package.source}"))
    return " ".join(word for word in _words(package.text) if word not in own)


def _words(text: str) -> Sequence[str]:
    return re.findall("[a-z]+", text.lower())


def _section(package: Package) -> Iterable[str]:
    return (package.section,)


def _maintainer(package: Package) -> Iterable[str]:
    return (package.maintainer,)


def _tagged(facet: str) -> Callable[[Package], Iterable[str]]:
    return lambda package: [tag.removeprefix(f"{facet}::") for tag in package.tags if tag.startswith(f"{facet}::")]


def _needed_by_program(package: Package) -> Iterable[str]:
    return () if _LIBRARIES.fullmatch(package.section) else package.depends


def _runtime(package: Package) -> Iterable[str]:
    """Of a program; what is compiled by neither a C nor a C++ compiler needs the C library as well and says nothing."""
    if any(re.match("golang|rustc|rust-|ghc|fpc|ocaml", source) for source in package.built_using):
        return ()
    needed = set(_needed_by_program(package))
    return needed - {"libc6"} if "libstdc++6" in needed else needed


_SECTION = {
    "admin": ("system administration", "admin"),
    "database": ("databases", "database"),
    "editors": ("text editors and word processors", "editors"),
    "electronics": ("electronics and microcontrollers", "electronics"),
    "fonts": ("fonts", "fonts"),
    "games": ("games", "games"),
    "graphics": ("images and graphics", "graphics"),
    "hamradio": ("amateur radio", "hamradio"),
    "mail": ("e-mail", "mail"),
    "math": ("mathematics and numerical computation", "math"),
    "net": ("network clients and servers", "net"),
    "science": ("scientific software for biology, chemistry and physics", "science"),
    "sound": ("sound and music software", "sound"),
    "text": ("text processing", "text"),
    "video": ("watching and recording video", "video"),
    "web": ("web servers and web browsers", "web|httpd"),
}

_ROLE = {
    "program": ("a program for users", "program"),
    "shared library": ("a shared library", "shared-lib"),
    "development library": ("a library for developers: development files and headers", "devel-lib"),
    "documentation": ("documentation and manuals", "documentation"),
    "data": ("data files used by a program", "app-data|data"),
    "plugin": ("a plugin or extension module", "plugin"),
    "debug symbols": ("debugging symbols", "debug-symbols"),
}

_INTERFACE = {
    "command line": ("a command line tool", "commandline"),
    "graphical": ("a desktop application", "x11|graphical"),
    "daemon": ("a server or background service", "daemon"),
    "text mode": ("an interactive program in a text terminal", "text-mode"),
    "web": ("a web application", "web"),
}

_USE = {
    "analysing": ("analysing data", "analysing"),
    "checking": ("checking and verifying", "checking"),
    "configuring": ("configuring the system", "configuring"),
    "converting": ("converting between formats", "converting"),
    "downloading": ("downloading files", "downloading"),
    "editing": ("editing and creating documents", "editing"),
    "gameplaying": ("playing a game", "gameplaying"),
    "monitor": ("monitoring the system", "monitor"),
    "organizing": ("organizing and managing collections", "organizing"),
    "playing": ("playing music and video", "playing"),
    "scanning": ("scanning for vulnerabilities or devices", "scanning"),
    "searching": ("searching and finding", "searching"),
    "storing": ("storing and backing up data", "storing"),
    "timekeeping": ("clocks, time and calendars", "timekeeping"),
    "viewing": ("viewing images and documents", "viewing"),
}

_WORKS_WITH = {
    "archive": ("archives and compressed files", "archive"),
    "audio": ("audio", "audio"),
    "database": ("databases", "db"),
    "dictionary": ("dictionaries and translations", "dictionary"),
    "file": ("files", "file"),
    "font": ("fonts", "font"),
    "image": ("images", "image|image:.*"),
    "logfile": ("log files", "logfile"),
    "mail": ("e-mail messages", "mail"),
    "network traffic": ("network traffic and packets", "network-traffic"),
    "processes": ("processes and running software", "software:running"),
    "software packages": ("Debian packages", "software:package"),
    "source code": ("source code of programs", "software:source"),
    "text": ("text documents", "text"),
    "video": ("video and films", "video"),
}

_TOOLKIT = {
    "GTK": ("a GTK application for the GNOME desktop", r"libgtk-?[234].*"),
    "Qt": ("a KDE desktop application", r"libqt\d?-?(gui|\d*gui|\d*widgets|\d*quick).*"),
    "SDL": ("a game with graphics and sound", r"libsdl.*"),
    "ncurses": ("a terminal program", r"libncurses.*"),
}

_PROGRAM_LANGUAGE = {
    "C": ("a system tool written in C", r"libc6(\.1)?"),
    "C++": ("a program written in C++", r"libstdc\+\+6"),
    "Java": ("a program written in Java", r"default-jre.*|openjdk-.*|java\d*-runtime.*"),
    "Perl": ("a script written in Perl", r"perl"),
    "Python": ("a program written in Python", r"python3"),
    "Ruby": ("a program written in Ruby", r"ruby|ruby-interpreter"),
}

_TEAM = {
    "astronomy": ("astronomy", r"Debian Astro.*"),
    "chemistry": ("chemistry and molecules", r".*Debichem.*"),
    "emacs": ("the Emacs editor", r"Debian Emacsen.*"),
    "fonts": ("fonts and typefaces", r"Debian Fonts.*"),
    "games": ("games", r"Debian Games.*"),
    "geography": ("maps and geographic information", r"Debian GIS.*"),
    "gnome": ("the GNOME desktop", r"Debian GNOME.*"),
    "hamradio": ("amateur radio", r"Debian Hamradio.*"),
    "input methods": ("input methods for Chinese and Japanese", r"Debian Input Method.*"),
    "kde": ("the KDE desktop and Qt", r"Debian (Qt/)?KDE.*"),
    "medicine": ("bioinformatics and medicine", r"Debian Med .*"),
    "multimedia": ("audio processing and video players", r"Debian Multimedia.*"),
    "openstack": ("cloud computing with OpenStack", r"Debian OpenStack.*|PKG OpenStack.*"),
    "postgresql": ("the PostgreSQL database", r"Debian PostgreSQL.*"),
    "science": ("scientific software and mathematics", r"Debian Science.*"),
    "security": ("security tools", r"Debian Security Tools.*"),
    "x11": ("the X window system", r"Debian X Strike.*"),
}

FACETS = (
    Facet("section", _section, _SECTION),
    Facet("role", _tagged("role"), _ROLE),
    Facet("interface", _tagged("interface"), _INTERFACE),
    Facet("use", _tagged("use"), _USE),
    Facet("works-with", _tagged("works-with"), _WORKS_WITH),
    Facet("toolkit", _needed_by_program, _TOOLKIT),
    Facet("language", _runtime, _PROGRAM_LANGUAGE),
    Facet("team", _maintainer, _TEAM),
)
TASKS = tuple(facet.name for facet in FACETS)
