from __future__ import annotations

from pathlib import Path

import pytest

from ligate.bench.suites.debian import facets
from ligate.bench.texts import Corpus, Question
from ligate.core.errors import InputError

_LISTS = "apt-en/lists/deb.example.org_debian_dists_bookworm_main"
_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "maple",
)

# Two kinds of packages, one class of every facet each.
_GAME = {
    "Section": "games",
    "Tag": "interface::graphical, interface::x11, role::program,\n use::gameplaying, works-with::image:raster",
    "Depends": "libc6 (>= 2.34), libsdl2-2.0-0, libstdc++6 (>= 12)",
    "Maintainer": "Debian Games Team <games@example.org>",
}
_MAILER = {
    "Section": "mail",
    "Tag": "interface::commandline, role::plugin, use::searching, works-with::mail",
    "Depends": "python3:any (>= 3.9), libncurses6 | libncursesw6",
    "Maintainer": "Debian Med Packaging Team <med@example.org>",
}


def entry(name: str, description: str, **fields: str) -> tuple[str, str]:
    """The stanzas of a package in the two files of an index."""
    head = {"Package": name, **{field.replace("_", "-"): value for field, value in fields.items()}}
    digest = f"md5 of {description}"
    index = "".join(f"{field}: {value}\n" for field, value in {**head, "Description-md5": digest}.items())
    return index, f"Package: {name}\nDescription-md5: {digest}\nDescription-en: {description}\n"


def pair(word: str, first: str, second: str) -> list[tuple[str, str]]:
    """Words and sources that differ by a word only."""
    return [
        entry(f"play-{word}", f"first {first}\n A toy to play with {second}.", **_GAME),
        entry(f"post-{word}", f"letter {second}\n Reads what {first} wrote.\n .\n And more.", **_MAILER),
    ]


def usual() -> list[tuple[str, str]]:
    return [stanza for k, word in enumerate(_WORDS) for stanza in pair(word, _WORDS[k - 1], _WORDS[k - 2])]


def write(store: Path, entries: list[tuple[str, str]]) -> Path:
    packages = store / f"{_LISTS}_binary-amd64_Packages"
    packages.parent.mkdir(parents=True)
    packages.write_text("\n".join(index for index, _ in entries))
    (store / f"{_LISTS}_i18n_Translation-en").write_text("\n".join(text for _, text in entries))
    (store / "apt-en" / "fetched").touch()
    return store


def questions(corpus: Corpus, task: str) -> dict[str, str]:
    """Source -> class."""
    found = corpus.task(task)
    return {one.source: found.classes[one.answer] for part in found.questions.values() for one in part}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return facets.corpus(write(tmp_path_factory.mktemp("store"), usual()))


@pytest.mark.parametrize(
    ("task", "game", "mailer"),
    [
        ("section", "games", "mail"),
        ("role", "program", "plugin"),
        ("interface", "graphical", "command line"),
        ("use", "gameplaying", "searching"),
        ("works-with", "image", "mail"),
        ("toolkit", "SDL", "ncurses"),
        ("language", "C++", "Python"),
        ("team", "games", "medicine"),
    ],
)
def test_every_facet_reads_its_own_field(corpus: Corpus, task: str, game: str, mailer: str):
    found = questions(corpus, task)
    assert (found["play-amber"], found["post-amber"]) == (game, mailer)
    assert set(corpus.task(task).classes) == {game, mailer}
    assert len(corpus.task(task).phrases) == 2


def test_facts_and_order_of_tasks(corpus: Corpus):
    assert tuple(task.name for task in corpus.tasks) == facets.TASKS
    assert corpus.facts == {"release": "bookworm", "packages": str(2 * len(_WORDS)), "digest": corpus.digest}


def test_a_source_is_in_the_same_split_of_all_tasks(corpus: Corpus):
    for task in corpus.tasks:
        for part, asked in task.questions.items():
            assert asked
            assert {facets.split_of(one.source) for one in asked} == {part}
        assert len(questions(corpus, task.name)) == 2 * len(_WORDS)


def test_order_of_the_index_does_not_matter_and_an_order_by_class_is_mixed(corpus: Corpus, tmp_path: Path):
    by_class = sorted(usual(), reverse=True)
    again = facets.corpus(write(tmp_path, by_class))
    assert again.digest == corpus.digest
    answers = [one.answer for one in again.task("section").questions["train"]]
    assert sorted(answers) != answers != sorted(answers, reverse=True)


def test_built_once_for_the_same_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = write(tmp_path, usual())
    first = facets.corpus(store)
    with monkeypatch.context() as patch:
        patch.delattr(facets, "packages")  # nothing is built again
        assert facets.corpus(store) == first
    index = store / f"{_LISTS}_binary-amd64_Packages"
    index.write_text(index.read_text().replace("Section: mail", "Section: web", 1))
    assert facets.corpus(store).digest != first.digest


def test_split_of_is_about_seventy_ten_twenty():
    parts = [facets.split_of(f"source {number}") for number in range(2000)]
    shares = [parts.count(part) / len(parts) for part in ("train", "validation", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_several_labels_and_copies_are_left_out(tmp_path: Path):
    odd = [
        entry("both", "both kinds", **{**_GAME, "Tag": "role::program, role::plugin"}),
        entry("copy-1", "engine of stones", Section="games"),
        entry("copy-2", "engine 2 of stones (copy)", Section="games"),
        entry("torn-1", "same words", Section="games"),
        entry("torn-2", "same words", Section="mail"),
        entry("big-b", "one of many", Section="games", Source="big (1.0)"),
        entry("big-c", "another of many", Section="games", Source="big (1.0)"),
    ]
    corpus = facets.corpus(write(tmp_path, usual() + odd))
    assert "both" not in questions(corpus, "role")
    assert "both" in questions(corpus, "section")
    found = questions(corpus, "section")
    assert len({"copy-1", "copy-2"} & set(found)) == 1
    assert not {"torn-1", "torn-2"} & set(found)
    assert len(texts_of(corpus, "section", "big")) == 1


def texts_of(corpus: Corpus, task: str, source: str) -> list[Question]:
    return [one for part in corpus.task(task).questions.values() for one in part if one.source == source]


def test_of_a_family_of_descriptions_one_stays_in_each_class(tmp_path: Path):
    text = "adds rules of the {} tongue for the great spelling checker of all desktops"
    family = [entry(f"spell-{word}", text.format(_WORDS[k - 1]), Section="mail") for k, word in enumerate(_WORDS)]
    other = entry("spell-game", text.format("zebra"), Section="games")
    found = questions(facets.corpus(write(tmp_path, [*usual(), *family, other])), "section")
    assert sorted(found[source] for source in found if source.startswith("spell-")) == ["games", "mail"]


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"Depends": "libc6, perl"}, None),  # two
        ({"Depends": "libc6 (>= 2.3)"}, "C"),
        ({"Depends": "libc6, libstdc++6"}, "C++"),
        ({"Depends": "libc6", "Built_Using": "golang-1.19 (= 1.19.8-2)"}, None),
        ({"Depends": "python3", "Section": "python"}, None),  # a library
    ],
)
def test_the_language_of_a_program(tmp_path: Path, fields: dict[str, str], language: str | None):
    # A class needs examples in train and test, so a few of each kind.
    more = [
        entry(f"tool-{word}", f"helps {_WORDS[k - 1]}", **{"Section": "utils", **fields})
        for k, word in enumerate(_WORDS)
    ]
    found = questions(facets.corpus(write(tmp_path, usual() + more)), "language")
    assert {found.get(f"tool-{word}") for word in _WORDS} == {language}


def test_a_task_with_one_class_is_named(tmp_path: Path):
    games = [stanza for stanza in usual() if "Debian Games" in stanza[0]]
    with pytest.raises(InputError, match=r"`section` needs examples of two classes.*those of 1 \(games\)"):
        facets.corpus(write(tmp_path, games))
