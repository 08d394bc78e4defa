"""The text suites from training to results, with a network and texts that are small enough for a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import tiny_encoder
from ligate.bench.kept import folder_digest
from ligate.bench.results import Results, load, save
from ligate.bench.statistics import means
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION, Request, Scale, Teller
from ligate.bench.suites.debian import facets, sametask
from ligate.bench.suites.debian import suite as debian
from ligate.bench.texts import Corpus, Question, TextTask
from ligate.bench.textworld import DROPPED, TYPOS, damaged

pytest.importorskip("scipy")

NAMES = facets.TASKS
_ASKED = {"validation": 24, "lesson": 24, "test": 40, "outside": 30, "length": 16}
SIZES = {"train": 60, **_ASKED, "epochs": 2, "joint epochs": 1, "parts": 3}


def word(task: int, label: int) -> str:
    return f"word{4 * task + label}"


def question(task: int, number: int) -> Question:
    """Words that give the answers of all tasks away, and some that do not."""
    told = [word(other, (number * (other + 1)) % 4) for other in range(len(NAMES))]
    text = " ".join([*told, *(f"noise{(7 * number + k) % 50}" for k in range(5))])
    return Question(text, f"source{number // 2}", (number * (task + 1)) % 4)


def small_corpus() -> Corpus:
    parts = {"train": range(200), "validation": range(200, 260), "test": range(260, 340)}
    return Corpus(
        [
            TextTask(
                name,
                tuple("abcd"),
                tuple(word(task, label) for label in range(4)),
                {split: [question(task, number) for number in numbers] for split, numbers in parts.items()},
            )
            for task, name in enumerate(NAMES)
        ],
        {"texts": "made for this test"},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    words = [f"word{i}" for i in range(4 * len(NAMES))] + [f"noise{i}" for i in range(50)]
    return str(tiny_encoder.make(tmp_path_factory.mktemp("encoder"), words))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "corpus", lambda store: small_corpus())
    for suite in (debian, sametask):
        monkeypatch.setattr(suite, "SCALES", {"smoke": Scale((0, 1), 3, SIZES)})


def request(suite: str, store: Path, out: Path, encoder: str, **more) -> Request:
    return Request(suite, "smoke", out, store, (0, 1), 3, model=encoder, **more)


@pytest.fixture(scope="module")
def results(store: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facets, "corpus", lambda store: small_corpus())
        patch.setattr(debian, "SCALES", {"smoke": Scale((0, 1), 3, SIZES)})
        return debian.play(request("debian4", store, tmp_path_factory.mktemp("out"), encoder), Teller())


def test_all_baselines_are_scored_on_all_papers(results: Results):
    assert [row.id for row in results.rows] == [
        "pretrained",
        "best-single",
        "individual",
        "joint",
        "average",
        "task_arithmetic",
        "ties",
        "ensemble-logits",
        "ensemble-probabilities",
    ]
    for row in results.rows:
        assert len(row.done) == 2
        for cell in row.done:
            papers = {TEST, TYPOS, DROPPED} if row.id == "individual" else {TEST, TYPOS, DROPPED, OUTSIDE}
            assert set(cell.answers) == papers
            assert set(cell.answers[TEST]) == set(debian.FOUR)
            assert all(len(each) == SIZES["test"] for each in cell.answers[TEST].values())


def test_tasks_without_an_expert_are_only_on_the_outside_paper(results: Results):
    outside = set(NAMES) - set(debian.FOUR)
    assert {task.name for task in results.tasks if task.expert is None} == outside
    assert set(results.papers[OUTSIDE].sources) == outside


def test_results_come_back_from_disk_as_they_were(results: Results, tmp_path: Path):
    save(results, tmp_path)
    again = load(tmp_path)
    assert again.facts == results.facts and again.tasks == results.tasks and again.digest == results.digest
    assert json.loads((tmp_path / "results.json").read_text())["format"] == 1
    for row, other in zip(results.rows, again.rows, strict=True):
        for cell, back in zip(row.cells, other.cells, strict=True):
            assert (back.chosen, back.cost, list(back.curve)) == (cell.chosen, cell.cost, list(cell.curve))
            for paper, values in cell.answers.items():
                assert all(torch.equal(values[task], back.answers[paper][task]) for task in values)


def test_a_second_run_trains_nothing_and_gives_the_same_numbers(
    results: Results, store, encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr("ligate.bench.textnets.fine_tune", lambda *_, **__: pytest.fail("trained again"))
    again = debian.play(request("debian4", store, tmp_path, encoder), Teller())
    for row, other in zip(results.rows, again.rows, strict=True):
        for cell, back in zip(row.cells, other.cells, strict=True):
            assert means(back.answers[TEST]) == means(cell.answers[TEST]) and back.chosen == cell.chosen


def test_other_data_code_or_seed_trains_anew(store, encoder, tmp_path, monkeypatch):
    def folders(seed: int = 0) -> list[Path]:
        world = debian.world(facets.corpus(store), request("debian4", store, tmp_path, encoder), seed, Teller())
        return [one.folder for one in (*world.experts, *world.others)]

    before = folders()
    assert folders() == before
    assert set(folders(seed=1)) & set(before) == {before[4]}  # the pretrained network alone
    changed = small_corpus()
    changed.tasks[0].questions["train"][0] = question(0, 999)
    monkeypatch.setattr(facets, "corpus", lambda store: changed)
    assert folders()[0] != before[0] and folders()[1:4] == before[1:4]
    monkeypatch.setattr(facets, "corpus", lambda store: small_corpus())
    monkeypatch.setattr("ligate.bench.textnets.code_digest", lambda names: "other code")
    assert set(folders()).isdisjoint(before)


def test_pretrained_is_the_network_that_was_given(store, encoder, tmp_path):
    world = debian.world(small_corpus(), request("debian4", store, tmp_path, encoder), 0, Teller())
    given = world.loaded(Path(encoder))
    assert all(torch.equal(value, given[name]) for name, value in world.state("pretrained").items())
    digests = {folder_digest(one.folder) for one in (*world.experts, *world.others)}
    assert len(digests) == 6


def test_a_weight_that_no_text_touches_is_exactly_the_pretrained_one(store, encoder, tmp_path):
    """Else every expert would differ from the base everywhere by rounding, and merges would count that as knowledge."""
    world = debian.world(small_corpus(), request("debian4", store, tmp_path, encoder), 0, Teller())
    name = "embeddings.word_embeddings.weight"
    base, tuned = world.state("pretrained")[name], world.state("section")[name]
    lessons = debian.drawn(small_corpus().task("section").questions["train"], SIZES["train"], 0)
    seen = {
        token for tokens in world.encoder.tokens([one.text for one in lessons], SIZES["length"]) for token in tokens
    }
    assert set((base != tuned).any(1).nonzero().flatten().tolist()) == seen


LEARNED = (
    "learn/adamerging(steps=4,look=2,rate=0.1)",
    "learn/expert_merging(steps=4,look=2,batch=6)",
    "learn/neulig(steps=4,look=2,per_class=2)",
)


def test_learned_merges_take_part_and_say_what_they_looked_at(results, store, encoder, tmp_path, monkeypatch):
    asked = request("debian4", store, tmp_path, encoder, methods=LEARNED)
    found = debian.play(asked, Teller())
    rows = {row.id: row for row in found.rows}
    assert not any(cell.failed for name in LEARNED for cell in rows[name].cells)
    assert [list(rows[name].uses) for name in LEARNED] == [
        ["unlabelled inputs"], ["unlabelled inputs"], ["validation labels"]
    ]  # fmt: skip
    extras = [rows[name].cells[0].extras for name in LEARNED]
    tensors = sum(1 for _ in debian.world(small_corpus(), asked, 0, Teller()).encoder.model.parameters())
    assert [each["scalars"] for each in extras] == [4 * tensors, 4 * tensors, 4]
    assert [each["examples"] for each in extras[:2]] == [4 * 24, 4 * 24]
    assert 0 < extras[2]["examples"] <= 4 * 4 * 2
    assert all(rows[name].cells[0].cost.seconds > 0 for name in LEARNED)
    monkeypatch.setattr("ligate.learn.presets.preset.learn", lambda *_, **__: pytest.fail("learned again"))
    again = {row.id: row for row in debian.play(asked, Teller()).rows}
    for name in LEARNED:
        assert means(again[name].cells[0].answers[TEST]) == means(rows[name].cells[0].answers[TEST])


def test_a_learned_merge_of_one_task_asks_all_experts(store, encoder, tmp_path):
    found = sametask.play(request("sametask", store, tmp_path, encoder, methods=(LEARNED[2],)), Teller())
    row = next(row for row in found.rows if row.id == LEARNED[2])
    assert not any(cell.failed for cell in row.cells)


def test_experts_of_one_task_have_disjoint_parts(store, encoder, tmp_path):
    found = sametask.play(request("sametask", store, tmp_path, encoder), Teller())
    assert [row.id for row in found.rows if row.group == "reference"] == ["pretrained", "best-single", "joint"]
    assert {"average-sized", "ensemble-probabilities-sized"} <= {row.id for row in found.rows}
    assert not any(cell.failed for row in found.rows for cell in row.cells)


@pytest.mark.parametrize("concentration", [0.2, None])
def test_parts_are_everything_once(concentration):
    questions = [question(0, number) for number in range(101)]
    dealt = sametask.parts(questions, 4, concentration, seed=5)
    assert sorted(one for part in dealt for one in part) == sorted(questions)
    assert dealt == sametask.parts(questions, 4, concentration, seed=5)
    sizes = [len(part) for part in dealt]
    assert (max(sizes) - min(sizes) <= 4) == (concentration is None)


def test_damage_is_the_same_each_time_and_keeps_sources_and_answers():
    asked = {"section": [question(0, number) for number in range(30)]}
    for how in (TYPOS, DROPPED):
        one, other = damaged(asked, how), damaged(asked, how)
        assert one == other
        assert [each[1:] for each in one["section"]] == [each[1:] for each in asked["section"]]
        assert sum(a.text != b.text for a, b in zip(one["section"], asked["section"], strict=True)) > 20
    typos = damaged(asked, TYPOS)["section"]
    assert all(sorted(a.text) == sorted(b.text) for a, b in zip(typos, asked["section"], strict=True))


def test_validation_and_test_have_no_source_in_common(results: Results):
    assert not set(results.papers[VALIDATION].sources["role"].tolist()) & set(
        results.papers[TEST].sources["role"].tolist()
    )


def test_a_model_that_is_no_encoder_is_told(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Exception, match=re.escape("config.json")):
        debian.play(request("debian4", store, tmp_path, str(tmp_path / "empty")), Teller())
