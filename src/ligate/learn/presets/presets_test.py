"""Every preset learns, ends with numbers that make the merge, and leaves the module with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ligate.learn.gradient import Adam, Task
from ligate.learn.objectives import Agreement, Batch, Told
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.processed import elected


class Network(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs: torch.Tensor) -> Told:
        hidden = self.body(inputs).tanh()
        return Told(self.head(hidden), hidden)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in module.named_parameters()}


BASE = state(Network(0))
EXPERTS = [{name: one + 0.2 * each[name] for name, one in BASE.items()} for each in map(state, map(Network, (1, 2)))]


def tasks(module: nn.Module) -> list[Task]:
    draw = torch.Generator().manual_seed(5)

    def batch() -> Batch:
        return Batch(torch.randn(9, 4, generator=draw), torch.randint(3, (9,), generator=draw))

    return [Task(f"task {k}", module, [batch() for _ in range(3)], [batch()], k) for k in range(2)]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns_and_its_numbers_make_the_merge(name: str):
    module, preset = Network(3), PRESETS[name]
    asked = tasks(module)
    if name == "atlas_negation":
        asked = [asked[0]._replace(weight=-1.0), asked[1]]
    preset = replace(preset, solver=replace(preset.solver, steps=6, look=2))
    found = preset.learned(module, BASE, EXPERTS, asked)
    assert found.best.stopping <= found.curve[0].stopping or found.keep == "last"
    merged = preset.merged(BASE, EXPERTS)
    for key, one in module.named_parameters():
        deltas = torch.stack([each[key] - BASE[key] for each in merged])
        torch.testing.assert_close(found.by.merged(key, BASE[key], deltas, found.numbers), one.detach())


def test_hidden_states_that_a_task_shows_are_asked_for():
    module, preset = Network(3), replace(PRESETS["expert_merging"], prior=None)
    preset = replace(preset, solver=replace(preset.solver, steps=1, look=1))
    shown = preset.learned(module, BASE, EXPERTS, tasks(module)).curve[0].stopping
    bare = [task._replace(ask=lambda inputs: module(inputs).logits) for task in tasks(module)]
    assert shown > preset.learned(module, BASE, EXPERTS, bare).curve[0].stopping


def staged(first: float, then: float, steps: int = 2) -> Preset:
    """Two stages that begin with these coefficients."""
    last = Preset(Coefficients(start_at=then), Agreement(), Adam(steps, 1e-3, look=1), "")
    return replace(last, parametrisation=Coefficients(start_at=first), then=lambda *_: last)


@pytest.mark.parametrize("worse_at_last", [True, False])
def test_of_two_stages_the_better_one_counts(worse_at_last: bool):
    module, preset = Network(3), staged(0.5, -9.0) if worse_at_last else staged(-9.0, 0.5)
    found = preset.learned(module, BASE, EXPERTS, tasks(module))
    other = found.after if worse_at_last else found.before
    assert other is not None and found.best.stopping < other.best.stopping
    assert (found.before is None) == worse_at_last == (found.after is not None)
    for key, one in module.named_parameters():
        deltas = torch.stack([each[key] - BASE[key] for each in EXPERTS])
        assert found.by.merged(key, BASE[key], deltas, found.numbers).equal(one.detach())


def test_losses_of_different_things_are_not_compared():
    module, preset = Network(3), staged(0.5, -9.0)
    last = replace(staged(-9.0, 0), objective=Agreement(2.0), then=None)
    found = replace(preset, then=lambda *_: last).learned(module, BASE, EXPERTS, tasks(module))
    assert found.before is not None and found.after is None


def test_teachers_of_a_second_stage_are_the_experts_as_they_were_given():
    module = Network(3)
    first = replace(staged(0.3, 0.3), experts=elected)
    last = replace(staged(0.3, 0.3), then=None)
    found = replace(first, then=lambda *_: replace(last, experts=elected)).learned(module, BASE, EXPERTS, tasks(module))
    other = found.before or found.after
    assert other is not None and other.curve[0].stopping == pytest.approx(found.curve[0].stopping, abs=1e-7)
