"""The demo from end to end with a network and texts that are small enough for a test: nothing in it is left out."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import ligate.bench.demo as demo
import ligate.bench.demo.experts as experts
import ligate.bench.demo.stages as stages
import ligate.bench.demo.study as study
import ligate.bench.encoder as encoder
import tiny_encoder
from ligate.bench.demo.shipped import MERGES
from ligate.bench.demo.tasks import TASKS, Corpus, Example
from ligate.core.errors import InputError

WORDS = [f"word{i}" for i in range(60)]


def text_of(number: int, answers: tuple[int, ...]) -> str:
    """Words that give the answers away, and some that do not."""
    told = [WORDS[10 * task + answer % 10] for task, answer in enumerate(answers)]
    return " ".join([*told, *(WORDS[30 + (7 * number + k) % 20] for k in range(4))])


def small_corpus() -> Corpus:
    examples: list[Example] = []
    for number in range(150):
        answers = tuple((number * step) % len(task.classes) for step, task in zip((1, 2, 3), TASKS, strict=True))
        split = ("train", "train", "train", "validation", "test")[number % 5]
        examples.append(Example(text_of(number, answers), f"lib/{number // 2}.py", split, answers))
    return Corpus(tuple(examples), {"lib": "1.0"})


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phrases = {word for task in TASKS for phrase in task.phrases for word in re.findall(r"\w+", phrase.lower())}
    return tiny_encoder.make(tmp_path_factory.mktemp("tiny-bert"), [*WORDS, *sorted(phrases)])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.tasks, "build", small_corpus)
    monkeypatch.setattr(study.tasks, "library_versions", lambda: {"lib": "1.0"})


def prepare(tiny_bert: Path, models: Path, seed: int = 0, progress=lambda name, done, total: None):
    return experts.prepare(tiny_bert, small_corpus(), models, seed=seed, examples=40, progress=progress)[2]


def test_the_whole_demo_runs_reports_and_holds(tiny_bert: Path, tmp_path: Path, small: None, monkeypatch):
    few = tuple(type(m)(m.title, m.recipe, m.note, m.coefficient, m.grid[:2]) for m in (MERGES[0], MERGES[2]))
    monkeypatch.setattr(stages, "MERGES", few)
    monkeypatch.setattr(study, "MERGES", few)
    screen = Console(file=io.StringIO(), width=120)

    assert demo.run(tmp_path / "demo", model=str(tiny_bert), console=screen) == 0

    told = screen.file.getvalue()
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    page = (tmp_path / "demo" / "report.html").read_text()
    assert results["proof_holds"] is True
    for row in results["models"].values():
        assert f"{100 * row['mean']:.1f}" in told  # every number comes from the same measurement
        assert f"{100 * row['mean']:.1f}" in page
    assert results["models"]["TIES"]["seconds"] > 0
    assert "did you mean 'scale'?" in told
    assert "byte for byte" in told
    assert not re.search(r"(src|href)=|@import|url\(|https?://", page)  # self-contained
    recipe = (tmp_path / "demo" / "recipes" / "ties.yaml").read_text()
    assert f"scale: {results['curves']['TIES']['chosen']:g} " in recipe
    assert not (tmp_path / "demo" / "merged" / "wrong").exists()
    assert not (tmp_path / "demo" / "damaged").exists()


def test_experts_learn_their_task_and_leave_untouched_rows_exactly_as_they_were(tiny_bert: Path, tmp_path: Path):
    prepare(tiny_bert, tmp_path)
    name = "embeddings.word_embeddings.weight"
    base = load_file(tmp_path / "pretrained" / "model.safetensors")
    for task in TASKS:
        tuned = load_file(tmp_path / task.name / "model.safetensors")
        assert tuned.keys() == base.keys()
        changed = (tuned[name] != base[name]).any(dim=1)
        assert bool(changed[2:30].any())
        assert not bool(changed[52:].any())  # words of no text


def test_a_killed_run_goes_on_with_the_expert_it_was_at(tiny_bert: Path, tmp_path: Path):
    def kill(name: str, done: int, total: int) -> None:
        if name == "topic":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tiny_bert, tmp_path, progress=kill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["library", "pretrained"]
    assert [each.found for each in prepare(tiny_bert, tmp_path)] == [True, False, False]
    assert [each.found for each in prepare(tiny_bert, tmp_path)] == [True, True, True]


def test_another_seed_trains_anew_and_the_same_seed_gives_the_same_weights(tiny_bert: Path, tmp_path: Path):
    prepare(tiny_bert, tmp_path / "one")
    prepare(tiny_bert, tmp_path / "two")
    first, second = (load_file(tmp_path / run / "kind" / "model.safetensors") for run in ("one", "two"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(each.found for each in prepare(tiny_bert, tmp_path / "two", seed=1))
    other = load_file(tmp_path / "two" / "kind" / "model.safetensors")
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_folder_that_holds_no_encoder_is_an_error_with_a_hint(tmp_path: Path, small: None):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        demo.run(tmp_path / "demo", model=str(tmp_path / "empty"), console=Console(file=io.StringIO()))


def test_without_the_weights_the_demo_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoder, "_PACKAGE", "surely_not_installed")
    with pytest.raises(InputError, match=r"requirements-demo\.txt"):
        encoder.pretrained_folder(None)
