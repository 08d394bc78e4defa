from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ligate.bench.demo.tasks import TASKS, Corpus, Example, drawn, read, save, topic_of


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("numpy/linalg/_linalg.py", "linear algebra"),
        ("sympy/polys/matrices/dense.py", "linear algebra"),  # not polynomials: the first topic that fits
        ("sympy/polys/rings.py", "polynomials"),
        ("transformers/models/bert/modeling_bert.py", "layers"),
        ("torch/_inductor/ir.py", None),
    ],
)
def test_the_path_of_a_file_tells_its_topic(path: str, topic: str | None):
    assert topic_of(path) == topic


def test_every_class_has_a_phrase_of_its_own():
    for task in TASKS:
        assert len(task.classes) == len(task.phrases) == len(set(task.phrases))


def example(number: int, answer: int) -> Example:
    return Example(f"text {number}", f"lib/{number}.py", "train", (answer, 0, 0))


def test_a_draw_takes_as_many_of_each_class_as_there_are():
    examples = [example(i, 0) for i in range(90)] + [example(i, 1) for i in range(90, 100)]
    counts = Counter(one.answers[0] for one in drawn(examples, 0, 40, seed=0))
    assert counts == {0: 30, 1: 10}


def test_a_draw_depends_on_the_seed_and_not_on_the_order():
    examples = [example(i, i % 3) for i in range(60)]
    first = drawn(examples, 0, 20, seed=0)
    assert first == drawn(examples[::-1], 0, 20, seed=0)
    assert set(first) != set(drawn(examples, 0, 20, seed=1))
    assert set(first) != set(drawn(examples, 1, 20, seed=0))


def test_a_corpus_is_read_as_it_was_saved(tmp_path: Path):
    corpus = Corpus((example(1, 2), example(2, 0)), {"numpy": "2.0"})
    save(corpus, tmp_path / "texts.json")
    again = read(tmp_path / "texts.json")
    assert again == corpus
    assert again.digest == corpus.digest
    assert Corpus(corpus.examples[:1], {}).digest != corpus.digest
