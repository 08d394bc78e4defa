"""Two levels against the same thing written down in one function."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ligate.learn.bilevel import Bilevel
from ligate.learn.gradient import Adam, Task, learn
from ligate.learn.masks import MASK, Masked, logistic
from ligate.learn.objectives import Batch, Entropy, Told
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS

SHARES = torch.tensor([0.5, 0.5])
BY = Masked(Coefficients("tensor", 0.3), temperature=0.5, seed=3)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


BASE, EXPERTS = state(network(0)), [state(network(seed)) for seed in (1, 2)]


def tasks(module: nn.Module) -> list[Task]:
    draw = torch.Generator().manual_seed(5)

    def batch() -> Batch:
        return Batch(torch.randn(10, 4, generator=draw))

    return [Task(f"task {k}", module, [batch() for _ in range(4)], [batch()], k) for k in range(2)]


def test_steps_are_those_of_both_levels_written_as_one_function():
    module = network(0)
    asked = tasks(module)
    found = learn(module, BASE, EXPERTS, asked, BY, Entropy(), Bilevel(3, 0.1, look=1, keep="last", inner_rate=0.2))
    c = {name: torch.full((2, 1), 0.3, requires_grad=True) for name in BASE}
    x = {name: torch.zeros_like(one, requires_grad=True) for name, one in BASE.items()}
    inner, outer = torch.optim.Adam(c.values(), lr=0.2), torch.optim.Adam(x.values(), lr=0.1)
    for step in range(3):
        for one in c.values():
            one.data.fill_(0.3)
        for optimizer, turn in ((inner, 2 * step), (outer, 2 * step + 1)):
            merged = {}
            for name, base in BASE.items():
                m = ((x[name] + logistic(3, name, step, base.shape)) / 0.5).sigmoid()
                merged[name] = base + sum(c[name][k] * (each[name] - base) * m / m.mean()
                                          for k, each in enumerate(EXPERTS))  # fmt: skip
            batches = [task.learning[turn % 4] for task in asked]
            loss = sum(Entropy()(Told(functional_call(module, merged, (b.inputs,))), b, SHARES) for b in batches) / 2
            inner.zero_grad()
            outer.zero_grad()
            loss.backward()
            optimizer.step()
    for name in BASE:
        torch.testing.assert_close(found.numbers[f"{MASK}{name}"], x[name].detach(), rtol=1e-4, atol=1e-5)


def test_what_is_looked_at_has_the_coefficients_of_the_start():
    module = network(0)
    found = learn(module, BASE, EXPERTS, tasks(module), BY, Entropy(), Bilevel(4, 0.1, look=2))
    assert all(found.numbers[name].eq(0.3).all() for name in BASE)
    first = {name: one + 0.3 * sum(each[name] - one for each in EXPERTS) for name, one in BASE.items()}
    batches = [task.stopping[0] for task in tasks(module)]
    says = [Told(functional_call(module, first, (batch.inputs,))) for batch in batches]
    losses = [float(Entropy()(told, batch, SHARES)) for told, batch in zip(says, batches, strict=True)]
    assert found.curve[0].stopping == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_a_learning_of_two_levels_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    def run(kept, tell=lambda look: None):
        module = network(0)
        solver = Bilevel(12, 0.1, look=3, patience=99)
        return learn(module, BASE, EXPERTS, tasks(module), BY, Entropy(), solver, kept=kept, tell=tell)

    def stop(look):
        if look.step == 6:
            raise KeyboardInterrupt

    whole = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", stop)
    again = run(tmp_path / "state")
    assert [look.step for look in again.curve] == [look.step for look in whole.curve]
    assert all(again.numbers[name].equal(one) for name, one in whole.numbers.items())


def test_a_planted_mask_is_found():
    """Both experts say (1, 1, 1, 1), wanted is (1.2, 1.2, 0, 0): of coefficients .3 with the mask (1, 1, 0, 0)."""

    class Vector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(4))

    @dataclass(frozen=True)
    class Distance:
        needs = frozenset()

        def __call__(self, told, batch, shares):
            return (told.logits - torch.tensor([1.2, 1.2, 0.0, 0.0])).square().sum()

    module = Vector()
    base, expert = {"theta": torch.zeros(4)}, {"theta": torch.ones(4)}
    asked = [Task("t", lambda _: module.theta, [Batch(None)])]
    solver = Bilevel(60, 0.2, look=10, inner_rate=0.01)
    found = learn(module, base, [expert, expert], asked, BY, Distance(), solver)
    assert found.numbers[f"{MASK}theta"].sigmoid().round().tolist() == [1, 1, 0, 0]
    assert module.theta.detach().tolist() == pytest.approx([1.2, 1.2, 0, 0], abs=0.05)


def test_concrete_ends_with_coefficients_for_the_mask_that_was_found():
    module = network(0)
    preset = replace(PRESETS["concrete"], solver=Bilevel(20, 0.1, look=5))
    found = preset.learned(module, BASE, EXPERTS, tasks(module))
    assert set(found.numbers) == set(BASE) and found.before is not None
    assert found.scalars == sum(one.numel() for one in BASE.values()) + 2 * len(BASE)
    deltas = {name: torch.stack([each[name] - one for each in EXPERTS]) for name, one in BASE.items()}
    for name, one in module.named_parameters():
        masks = {key: each for key, each in found.before.numbers.items() if key.startswith(MASK)}
        mask = masks[f"{MASK}{name}"].sigmoid()
        c = found.numbers[name].clamp(0, 1)[:, 0]
        whole = BASE[name] + torch.tensordot(c, deltas[name] * mask / mask.mean(), 1)
        torch.testing.assert_close(one.detach(), whole, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.by.merged(name, BASE[name], deltas[name], found.numbers), one.detach())


def test_stages_have_files_of_their_own(tmp_path):
    preset = replace(PRESETS["concrete"], solver=Bilevel(4, 0.1, look=2))
    whole = preset.learned(module := network(0), BASE, EXPERTS, tasks(module), kept=tmp_path / "state")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "state.then"]
    told = []
    again = preset.learned(module, BASE, EXPERTS, tasks(module), kept=tmp_path / "state", tell=told.append)
    assert not told and all(again.numbers[name].equal(one) for name, one in whole.numbers.items())


def test_a_mask_is_learned_by_adam_alone_too():
    module = network(0)
    found = learn(module, BASE, EXPERTS, tasks(module), BY, Entropy(), Adam(10, 0.1, look=5))
    assert found.curve[-1].learning < found.curve[1].learning
