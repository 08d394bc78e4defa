from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from ligate.bench.suites.debian import apt
from ligate.bench.suites.lm import texts as lm_texts
from ligate.bench.suites.lm.texts import CODE, Document, domains, split, without_repeats
from ligate.core.errors import InputError

PROSE = "Owls fly at night over the quiet fields and listen for mice that run below the dry leaves of autumn."
OTHER = "Bread needs flour, water, salt and time; an oven of stone gives the crust which bakers dream about."


def test_a_paragraph_said_before_goes_and_the_rest_of_the_document_stays():
    again = PROSE.replace("mice", "voles").upper()
    kept = list(
        without_repeats([Document("a", PROSE), Document("b", f"{again}\n\n{OTHER}"), Document("c", PROSE)], set())
    )
    assert kept == [Document("a", PROSE), Document("b", OTHER)]


def test_what_another_domain_said_counts_as_said():
    seen: set[int] = set()
    assert list(without_repeats([Document("en", PROSE)], seen))
    assert not list(without_repeats([Document("de", PROSE)], seen))


def test_paragraphs_without_words_are_left_out():
    assert not list(without_repeats([Document("table", "0 1 2 3\n\n----\n\n17")], set()))


def test_translations_fall_into_the_same_part():
    names = [f"description {number}" for number in range(300)]
    english, german = (split(Document(name, text) for name in names) for text in (PROSE, OTHER))
    assert [[one.source for one in english[part]] for part in english] == [
        [one.source for one in german[part]] for part in german
    ]
    assert 0.05 < len(english["validation"]) / 300 < 0.15 and 0.1 < len(english["test"]) / 300 < 0.2


def test_code_of_this_machine_is_split_without_near_duplicates():
    found = domains(CODE, 200_000, Path("nowhere"))
    assert [each.name for each in found] == list(CODE)
    assert [each.digest for each in domains(CODE, 200_000, Path("nowhere"))] == [each.digest for each in found]
    for each in found:
        trained, asked = each.documents["train"], each.documents["test"]
        assert not {one.source for one in trained} & {one.source for one in asked}
        known = {mark for one in trained for mark in _runs(one.text)}
        runs = [mark for one in asked for mark in _runs(one.text)]
        assert sum(run in known for run in runs) < 0.1 * len(runs)


def test_descriptions_are_read_in_every_language_and_share_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = {"en": "owl\n Owls fly.\n .\n They land.", "de": "Eule\n Eulen fliegen.\n .\n Sie landen."}
    for language, text in texts.items():
        stanza = f"Package: owl\nDescription-md5: 17\nDescription-{language}: {text}\n\n"
        (tmp_path / language).write_text(stanza * 2, encoding="utf-8")
    lists = apt.Lists([], {language: [tmp_path / language] for language in texts})
    monkeypatch.setattr(apt, "lists", lambda store, languages: lists)
    monkeypatch.setattr(lm_texts, "split", lambda documents: {"train": documents})
    english, german = domains(["english", "german"], 20, tmp_path)
    assert english.documents["train"] == [Document("17", "owl\nOwls fly.\n\nThey land.")]
    assert german.documents["train"] == [Document("17", "Eule\nEulen fliegen.\n\nSie landen.")]


def test_too_little_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "only.py").write_text(PROSE, encoding="utf-8")
    monkeypatch.setattr(lm_texts.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="MB of text for `python`"):
        domains(["python"], 200_000, tmp_path)


def _runs(text: str) -> list[int]:
    words = text.lower().split()
    return [zlib.crc32(" ".join(words[i : i + 8]).encode()) for i in range(len(words) - 7)]
