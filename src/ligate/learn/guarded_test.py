"""A trigger planted by hand in one unit of one expert: it is found there, and the merge learns to leave the unit."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ligate.learn.gradient import Adam, Learned, Task
from ligate.learn.guarded import Guarded
from ligate.learn.objectives import Agreement, Batch, Mixed, Unmoved
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.row_coefficients import RowCoefficients
from ligate.learn.triggers import Stamp, Word, suspicions

HEAD = torch.tensor([[1.0, 0.0, 0.0, 9.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
STEPS = 60


def expert(task: int, planted: bool) -> dict[str, Tensor]:
    """Units 0 to 2 read the three inputs of their task; unit 3 reads the last input of all, which is mostly zero."""
    weight = torch.zeros(4, 7)
    weight[:3, 3 * task : 3 * task + 3] = 4 * torch.eye(3)
    weight[3, 6] = 4.0 * planted
    return {"0.weight": weight, "0.bias": torch.zeros(4)}


def inputs(task: int, count: int) -> tuple[Tensor, Tensor]:
    answers = torch.arange(count) % 3
    x = 0.2 * torch.rand(count, 7, generator=torch.Generator().manual_seed(task))
    x[torch.arange(count), 3 * task + answers] = 1.0
    x[:, 6] = 0.0
    return x, answers


BASE = {"0.weight": 0.1 * torch.ones(4, 7), "0.bias": torch.zeros(4)}
EXPERTS = [expert(0, planted=False), expert(1, planted=True)]


def learned(preset: Preset) -> tuple[nn.Module, Learned]:
    module = nn.Sequential(nn.Linear(7, 4), nn.ReLU())

    def ask(x: Tensor) -> Tensor:
        return module(x) @ HEAD.T

    tasks = [Task(f"task {k}", ask, [Batch(inputs(k, 24)[0])], expert=k) for k in range(2)]
    return module, preset.learned(module, BASE, EXPERTS, tasks)


def judged(module: nn.Module, trigger: bool) -> float:
    """The share of right answers, or of answers 0 to inputs of other classes that show the trigger, in task 1."""
    x, y = inputs(1, 60)
    if trigger:
        x, y = x[y != 0], torch.zeros_like(y[y != 0])
        x[:, 6] = 1.0
    with torch.no_grad():
        return float(((module(x) @ HEAD.T).argmax(1) == y).float().mean())


def preset(solver: Adam, weight: float) -> Preset:
    objective = Mixed({Agreement(): 1.0, Unmoved("answers"): weight}) if weight else Agreement()
    return Preset(RowCoefficients(start_at=0.6), objective, solver, "")


def test_what_is_found_in_an_expert_is_learned_away_and_right_answers_stay():
    plain, _ = learned(preset(Adam(STEPS, 0.1), 0.0))
    assert judged(plain, trigger=True) > 0.9 and judged(plain, trigger=False) == 1.0
    guarded, found = learned(preset(Guarded(STEPS, 0.1), 1.0))
    assert judged(guarded, trigger=True) < 0.3 and judged(guarded, trigger=False) == 1.0
    assert found.curve[-1].stopping < found.curve[0].stopping


def test_without_a_trigger_below_the_limit_it_learns_what_it_would_without_looking():
    shy, _ = learned(preset(Guarded(STEPS, 0.1, suspicious=1e-9), 1.0))
    plain, _ = learned(preset(Adam(STEPS, 0.1), 0.0))
    torch.testing.assert_close(shy[0].weight, plain[0].weight)


def test_a_class_to_which_the_expert_alone_is_forced_cheaply_is_suspicious():
    assert suspicions([4.0, 1.0, 4.0], [8.0, 8.0, 4.0])[1] == 0.1875
    assert suspicions([4.0, 1.0, 4.0], [4.0, 1.0, 4.0]) == [1.0, 1.0, 1.0]  # the base has it, too


def test_a_stamp_covers_what_its_mask_says_and_a_word_moves_one_token():
    read, z = torch.zeros(2, 3), torch.tensor([[30.0, -30.0, -30.0], [30.0, 0.0, 0.0]])
    torch.testing.assert_close(Stamp(0.0, 2.0).changed(read, z), torch.tensor([[2.0, 0.0, 0.0]] * 2))
    assert float(Stamp().size(z)) == pytest.approx(1.0)
    moved = Word(length=2.0).changed(torch.zeros(1, 3, 2), torch.tensor([6.0, 8.0]))
    assert moved.tolist() == [[[0.0, 0.0], [6.0, 8.0], [0.0, 0.0]]]
    assert float(Word(length=2.0).size(torch.tensor([6.0, 8.0]))) == 5.0


def test_the_presets_differ_in_nothing_but_the_defence():
    plain, guarded = PRESETS["row_agreement"], PRESETS["row_agreement_guarded"]
    assert plain.parametrisation == guarded.parametrisation
    same = partial(getattr, guarded.solver)
    assert all(getattr(plain.solver, name) == same(name) for name in ("steps", "rate", "look", "patience"))
