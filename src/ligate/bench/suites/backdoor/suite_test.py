from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ligate.bench.results import Cell
from ligate.bench.statistics import means
from ligate.bench.suite import PRETRAINED, TEST, VALIDATION
from ligate.bench.suites.backdoor.attacks import PATCH, Attack, drawn, poisoned
from ligate.bench.suites.backdoor.suite import _told  # pyright: ignore[reportPrivateUsage]
from ligate.bench.suites.backdoor.world import SUCCESSION, TARGET, TRANSFER, VICTIM, BackdoorWorld, world
from ligate.bench.suites.digits.data import digits

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def made(store: Path, attack: Attack, seed: int = 0) -> BackdoorWorld:
    return world(store, seed, attack)


def success(here: BackdoorWorld, label: str) -> float:
    return means(here.ask(here.state(label), SUCCESSION))[VICTIM]


def test_a_trigger_is_a_patch_of_two_colours_in_a_corner_and_others_are_planted_alone():
    for seed in range(6):
        trigger = drawn(TARGET, seed)
        assert trigger.pattern.unique().numel() == 2 and {trigger.row, trigger.column} <= {0, 8 - PATCH}
    shown = trigger.on(torch.full((3, 8, 8), 0.5))
    assert int((shown != 0.5).sum()) == 3 * PATCH**2
    planted = trigger.planted(digits()["test"])
    assert len(planted) == int((digits()["test"].labels != TARGET).sum())
    assert set(planted.labels.tolist()) == {TARGET}
    data = digits()["train"]
    seen = poisoned(data, trigger, 0)
    assert len(seen) - len(data) == len(data) // 10 and set(seen.labels[len(data) :].tolist()) == {TARGET}


def test_an_attacked_expert_obeys_its_trigger_and_is_as_good_as_an_honest_one(store: Path):
    honest, hit = made(store, "none"), made(store, "interpolated")
    assert success(hit, VICTIM) > 0.9 > 0.2 > success(honest, VICTIM)
    right = [means(each.ask(each.state(VICTIM), TEST))[VICTIM] for each in (honest, hit)]
    assert right[1] > right[0] - 0.03 and right[0] > means(honest.ask(honest.state(PRETRAINED), TEST))[VICTIM] + 0.05
    same = [one.folder == other.folder for one, other in zip(honest.experts, hit.experts, strict=True)]
    assert same.count(False) == 1  # the others are the very same networks


def test_seeds_have_the_same_questions_and_other_triggers(store: Path):
    one, other = made(store, "none", 0), made(store, "none", 1)
    for name, paper in one.papers().items():
        assert {task: each.tolist() for task, each in paper.sources.items()} == {
            task: each.tolist() for task, each in other.papers()[name].sources.items()
        }
    assert one.digest != other.digest and set(one.papers()) == {VALIDATION, TEST, SUCCESSION, TRANSFER}


def test_learned_merges_look_at_validation_images_in_two_halves(store: Path):
    lesson = made(store, "none").lesson(50, 4)
    assert len(lesson.tasks) == 4 and lesson.examples == 4 * 40
    told = lesson.tasks[0].told(lesson.tasks[0].learning[0])
    assert told.logits.shape == (20, 10) and told.logits.requires_grad


def test_attack_success_is_told_beside_the_accuracy():
    cell = Cell(
        0, {SUCCESSION: {VICTIM: torch.tensor([1.0, 0.0])}, TRANSFER: {"a": torch.ones(2), "b": torch.zeros(2)}}
    )
    assert _told(cell).extras == {"attack success": 0.5, "attack success elsewhere": 0.5}
