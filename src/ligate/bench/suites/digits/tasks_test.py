from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ligate.bench.merging import in_memory
from ligate.bench.statistics import Values, means
from ligate.bench.suite import OUTSIDE, PRETRAINED, TEST, VALIDATION
from ligate.bench.suites.digits.tasks import DigitsWorld, world
from ligate.core.errors import InputError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def small(store: Path) -> DigitsWorld:
    return world(store, 0, "smoke")


def mean(values: Values) -> float:
    return sum(means(values).values()) / len(values)


def average(small: DigitsWorld) -> dict[str, torch.Tensor]:
    states = {one.label: small.state(one.label) for one in small.experts}
    sources = "".join(f"  {label}: {label}\n" for label in states)
    return in_memory(f"sources:\n{sources}merge: {{method: linear, models: [{', '.join(states)}]}}\n", states)


def test_the_average_of_the_experts_lies_between_the_pretrained_network_and_the_experts(small: DigitsWorld):
    pretrained = mean(small.ask(small.state(PRETRAINED), TEST))
    merged = mean(small.ask(average(small), TEST))
    own = mean({one.label: small.ask(small.state(one.label), TEST)[one.label] for one in small.experts})
    assert 0.15 < pretrained < merged - 0.03 < own - 0.1


def test_a_network_that_votes_alone_says_what_it_says_when_asked(small: DigitsWorld):
    for how in ("logits", "probabilities"):
        alone = small.vote(["turned"], [2.0], how, TEST)
        asked = small.ask(small.state("turned"), TEST)
        assert all(torch.equal(alone[task], asked[task]) for task in asked)


def test_papers_have_a_source_for_every_answer_and_share_no_image_between_validation_and_test(small: DigitsWorld):
    for name, paper in small.papers().items():
        answers = small.ask(small.state(PRETRAINED), name)
        assert {task: each.shape for task, each in answers.items()} == {t: s.shape for t, s in paper.sources.items()}
    papers = small.papers()
    assert not set(papers[VALIDATION].sources["turned"].tolist()) & set(papers[TEST].sources["turned"].tolist())
    assert list(papers[OUTSIDE].sources) == ["plain"]


def test_networks_are_trained_once_and_others_with_another_seed(small: DigitsWorld, store: Path):
    again = world(store, 0, "smoke")
    assert again.experts == small.experts and again.digest == small.digest
    other = world(store, 1, "smoke")
    assert {one.folder for one in other.experts}.isdisjoint(one.folder for one in small.experts)
    assert not torch.equal(other.state("turned")["head.bias"], small.state("turned")["head.bias"])


def test_a_network_trained_anew_is_the_same_to_the_bit(small: DigitsWorld, tmp_path: Path):
    anew = world(tmp_path, 0, "smoke")
    for label in (PRETRAINED, "turned"):
        assert all(torch.equal(value, anew.state(label)[name]) for name, value in small.state(label).items())


def test_weights_of_another_network_are_refused(small: DigitsWorld):
    with pytest.raises(InputError, match="do not fit the network"):
        small.ask({"head.weight": torch.zeros(10, 3)}, TEST)
