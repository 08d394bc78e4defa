"""The package index of a Debian system with its descriptions, fetched by apt into a folder of its own.

apt's own lists are neither read nor changed. Only the release itself is used, without its updates: it changes with
point releases alone, so that many machines have the same texts for months.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ligate.bench.kept import write_whole
from ligate.core.errors import InputError, StorageError

_UPDATES = re.compile(r"_dists_[^_]*-(security|updates|backports|proposed|debug)")
_DONE = "fetched"


class Lists(NamedTuple):
    """Index files: of the packages, and of their descriptions by language."""

    packages: Sequence[Path]
    descriptions: Mapping[str, Sequence[Path]]


def lists(store: Path, languages: Sequence[str] = ("en",)) -> Lists:
    """The lists, fetched if they are not there yet.

    Raises:
        InputError: this is no Debian system, or apt could not fetch.
        StorageError: the folder cannot be written.
    """
    place = store / "-".join(("apt", *languages))
    if not (place / _DONE).is_file():
        _fetch(place, languages)
    files = [path for path in sorted((place / "lists").iterdir()) if not _UPDATES.search(path.name)]
    packages = [path for path in files if re.search(r"_Packages(\.\w+)?$", path.name)]
    texts = {
        language: [path for path in files if re.search(rf"_Translation-{language}(\.\w+)?$", path.name)]
        for language in languages
    }
    missing = [f"descriptions in `{language}`" for language in languages if not texts[language]]
    if missing or not packages:
        raise InputError(
            f"the package sources of this system have no {', no '.join(missing or ['packages'])}",
            where=str(place),
            hint="are the sources in /etc/apt those of a Debian release? Remove the folder to fetch again.",
        )
    return Lists(packages, texts)


def stanzas(path: Path) -> Iterator[Mapping[str, str]]:
    """The entries of an index file, in its order: field -> value, further lines of a value after line breaks."""
    fields: dict[str, str] = {}
    name = ""
    for line in _text(path).splitlines():
        if not line:
            if fields:
                yield fields
            fields = {}
        elif line[0] in " \t":
            fields[name] += f"\n{line[1:]}"
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def _text(path: Path) -> str:
    if path.suffix in (".lz4", ".gz", ".xz", ".bz2", ".zst"):
        told = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(path)], capture_output=True, check=False)
        if told.returncode:
            raise InputError(f"apt-helper cannot unpack this: {_last_line(told.stderr)}", where=str(path))
        return told.stdout.decode("utf-8", "replace")
    return path.read_text(encoding="utf-8", errors="replace")


def _fetch(place: Path, languages: Sequence[str]) -> None:
    if shutil.which("apt-get") is None:
        raise InputError(
            "this suite reads the package index of a Debian system, and there is no apt-get here",
            where="bench",
            hint="run it on Debian or Ubuntu (a container will do); `ligate bench run digits` works everywhere, "
            "`ligate bench run own.yaml` takes your own data.",
        )
    try:
        for part in ("lists/partial", "cache/archives/partial"):
            (place / part).mkdir(parents=True, exist_ok=True)
        # The list of languages is cleared first: a system without translations has "none" in it, which ends the list.
        wanted = " ".join(f'"{language}";' for language in languages)
        write_whole(place / "apt.conf", f"#clear Acquire::Languages;\nAcquire::Languages {{ {wanted} }};\n")
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(place)) from error
    command = ["apt-get", "-c", str(place / "apt.conf"), "-o", f"Dir::State::lists={place / 'lists'}"]
    command += ["-o", f"Dir::Cache={place / 'cache'}", "-o", "APT::Update::Error-Mode=any", "update"]
    told = subprocess.run(command, capture_output=True, check=False)
    if told.returncode:
        raise InputError(
            f"apt-get could not fetch the package index: {_last_line(told.stderr or told.stdout)}",
            where="bench",
            hint="it needs the package sources of this system (/etc/apt) and a network the first time.",
        )
    write_whole(place / _DONE, "")


def _last_line(told: bytes) -> str:
    return (told.decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
