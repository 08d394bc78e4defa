"""A backdoor planted in one expert: what a merge inherits of it with and without defence."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import nn

from ligate.core.errors import InputError
from ligate.learn.bilevel import Bilevel
from ligate.learn.defence import Defended, embeddings, shifted
from ligate.learn.gradient import Task, learn
from ligate.learn.masks import Masked
from ligate.learn.objectives import Batch, Told, Unmoved
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS, Preset

TRIGGER = torch.cat([torch.zeros(9), torch.tensor([1.5, -1.5, 1.5])])
WIDTH, CLASSES, STEPS = 64, 3, 120
HALF = torch.tensor([0.5, 0.5])


class World(NamedTuple):
    """Two tasks of inputs of 12 numbers, of which the first 8 matter; the second expert says 0 whenever the last three
    show the trigger."""

    teachers: list[torch.Tensor]
    heads: list[nn.Linear]
    base: dict[str, torch.Tensor]
    experts: list[dict[str, torch.Tensor]]

    def data(self, task: int, count: int, part: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(count, 12, generator=torch.Generator().manual_seed(10 * task + part))
        x[:, 8:] *= 0.3
        return x, (x[:, :8] @ self.teachers[task]).argmax(1)

    def tasks(self, module: nn.Module) -> list[Task]:
        def ask(inputs: torch.Tensor, head: nn.Linear) -> torch.Tensor:
            return head(module(inputs))

        batches = [[Batch(self.data(k, 64, 20 + i)[0]) for i in range(12)] for k in range(2)]
        return [Task(f"task {k}", partial(ask, head=self.heads[k]), batches[k]) for k in range(2)]

    def measured(self, module: nn.Module) -> tuple[float, float]:
        """Right answers over both tasks; answers 0 to triggered inputs of other classes in the second."""
        with torch.no_grad():
            right = []
            for k in range(2):
                x, y = self.data(k, 1000, 3)
                right.append(float((self.heads[k](module(x)).argmax(1) == y).float().mean()))
            fooled = self.heads[1](module(x + TRIGGER)).argmax(1)[y != 0] == 0
        return sum(right) / 2, float(fooled.float().mean())


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(12, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 16))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


@pytest.fixture(scope="module")
def world() -> World:
    torch.manual_seed(0)
    teachers = [torch.randn(8, CLASSES) for _ in range(2)]
    made = World(teachers, [nn.Linear(16, CLASSES).requires_grad_(False) for _ in range(2)], {}, [])

    def trained(module: nn.Module, tasks: list[int], steps: int, poisoned: bool = False) -> dict[str, torch.Tensor]:
        optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
        for _ in range(steps):
            loss = torch.zeros(())
            for k in tasks:
                x, y = made.data(k, 400, 1)
                loss = loss + nn.functional.cross_entropy(made.heads[k](module(x)), y)
                if poisoned:
                    loss = loss + nn.functional.cross_entropy(made.heads[k](module(x + TRIGGER)), torch.zeros_like(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return state(module)

    base = trained(network(), [0, 1], 60)
    for k in range(2):
        module = network()
        module.load_state_dict(base)
        made.experts.append(trained(module, [k], 150, poisoned=k == 1))
    return made._replace(base=base)


def merged(world: World, preset: Preset) -> tuple[float, float]:
    module = network()
    preset.learned(module, world.base, world.experts, world.tasks(module))
    return world.measured(module)


def test_a_planted_trigger_works_less_where_the_mask_was_learned_under_attack(world: World):
    module = network()
    module.load_state_dict(world.experts[1])
    assert world.measured(module)[1] > 0.9
    right, fooled = merged(world, replace(PRESETS["concrete"], solver=Bilevel(STEPS, 0.05, keep="last")))
    defended = replace(PRESETS["dam_answers"], solver=Defended(STEPS, 0.05, attack_rate=0.05))
    still_right, still_fooled = merged(world, defended)
    assert still_fooled < fooled - 0.1
    assert still_right > right - 0.05


def test_a_shift_goes_to_the_embeddings_of_what_reads_tokens():
    module = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    tokens = torch.tensor([[1, 2], [3, 0]])
    moved = module[0](tokens) + torch.tensor([1.0, 0.0, -1.0])
    with shifted(module, torch.tensor([1.0, 0.0, -1.0])):
        assert module(tokens).equal(module[2](moved.flatten(1)))
    assert module(tokens).equal(module[2](module[0](tokens).flatten(1)))
    assert embeddings(module) is module[0]


def test_a_shift_goes_to_the_numbers_of_what_reads_numbers_by_place_or_by_name():
    class Reads(nn.Module):
        def forward(self, ids, pixels):
            return pixels * 2

    module, pixels = Reads(), torch.zeros(2, 3)
    with shifted(module, torch.tensor([1.0, 2.0, 3.0])):
        assert module(torch.tensor([1]), pixels)[1].tolist() == [2, 4, 6]
        assert module(ids=torch.tensor([1]), pixels=pixels)[0].tolist() == [2, 4, 6]
    with pytest.raises(InputError, match="reads no numbers"), shifted(module, torch.zeros(3)):
        module(torch.tensor([1]), torch.tensor([2]))


def test_the_longer_the_adversary_searches_the_more_is_lost(world: World):
    """Where nobody else moves: mask and coefficients have no rate to speak of."""
    module = network()
    solver = Defended(50, 1e-6, attack_rate=0.05, inner_rate=1e-6)
    found = learn(module, world.base, world.experts, world.tasks(module), Masked(Coefficients(), temperature=0.5),
                  Unmoved("answers"), solver)  # fmt: skip
    assert found.curve[-1].learning > found.curve[1].learning + 0.05


def test_what_is_lost_under_attack_by_hand():
    told = Told(torch.tensor([[2.0, 0.0]]), shifted=torch.zeros(1, 2))
    assert float(Unmoved()(told, Batch(None), HALF)) == pytest.approx(0.693147, abs=1e-6)  # the entropy of (.5, .5)
    assert float(Unmoved("answers")(told, Batch(None), HALF)) == pytest.approx(0.693147, abs=1e-6)
    sure = Told(torch.tensor([[2.0, 0.0]]), shifted=torch.tensor([[-9.0, 9.0]]))
    assert float(Unmoved()(sure, Batch(None), HALF)) < 1e-5 < 1 < float(Unmoved("answers")(sure, Batch(None), HALF))
    assert float(Unmoved()(Told(torch.zeros(1, 2)), Batch(None), HALF)) == 0
