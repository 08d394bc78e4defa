from __future__ import annotations

from pathlib import Path

from ligate.bench.suites.debian.apt import Lists
from ligate.bench.suites.debian.packages import Package, packages

_INDEX = """\
Package: gtoy
Source: toys (1.2-3)
Version: 1.2-3+b1
Maintainer: Toy Team <toys@example.org>
Depends: python3:any (>= 3.9), perl | awk,
 libtoy1 (= 1.2-3)
Pre-Depends: dpkg (>= 1.15)
Description-md5: 11
Tag: role::program, use::gameplaying,
 works-with::image:raster
Section: contrib/games
Built-Using: golang-1.19 (= 1.19.8-2)

Package: plain
Description-md5: 22
Section: misc

Package: untold
Description-md5: 33

Package: gtoy
Description-md5: 22
Section: misc
"""

_TEXTS = """\
Package: gtoy
Description-md5: 11
Description-en: box of toys
 The first paragraph,
   indented.
 .
 The second.

Package: plain
Description-md5: 22
Description-en: many words
"""


def read(folder: Path, index: str = _INDEX, texts: str = _TEXTS) -> list[Package]:
    (folder / "Packages").write_text(index)
    (folder / "Translation-en").write_text(texts)
    return list(packages(Lists([folder / "Packages"], {"en": [folder / "Translation-en"]})))


def test_an_entry_is_joined_with_its_description(tmp_path: Path):
    toy, _ = read(tmp_path)
    assert toy == Package(
        name="gtoy",
        source="toys",
        section="games",
        tags=["role::program", "use::gameplaying", "works-with::image:raster"],
        maintainer="Toy Team <toys@example.org>",
        depends=["dpkg", "python3", "perl", "awk", "libtoy1"],
        built_using=["golang-1.19"],
        text="box of toys. The first paragraph, indented. The second.",
    )


def test_missing_fields_are_empty_and_packages_without_description_or_seen_before_left_out(tmp_path: Path):
    _, plain = read(tmp_path)
    assert plain == Package("plain", "plain", "misc", [], "", [], [], "many words.")


def test_long_texts_are_cut(tmp_path: Path):
    words = " ".join(f"w{number}" for number in range(80))
    (plain,) = read(tmp_path, texts=f"Package: plain\nDescription-md5: 22\nDescription-en: many words\n {words}\n")[:1]
    assert plain.text.split() == ["many", "words.", *(f"w{number}" for number in range(58))]
