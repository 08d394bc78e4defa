"""Learning against the same thing written down directly, and against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ligate.core.errors import InputError
from ligate.learn.gradient import Adam, Task, learn, taught
from ligate.learn.masks import Masked
from ligate.learn.objectives import (
    Agreement,
    Batch,
    Collaboration,
    CrossEntropy,
    EnsembleError,
    Entropy,
    Features,
    Mixed,
    Told,
)
from ligate.learn.parametrisations import Coefficients, Gated
from ligate.learn.presets import PRESETS


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


def tasks(module: nn.Module, labels: bool = True, count: int = 2) -> list[Task]:
    draw = torch.Generator().manual_seed(7)
    each = [torch.randn(16, 5, generator=draw) for _ in range(2 * count)]
    right = [torch.randint(3, (16,), generator=draw) for _ in each]
    batches = [Batch(x, y if labels else None) for x, y in zip(each, right, strict=True)]
    return [Task(f"task {i}", module, [batches[2 * i]], [batches[2 * i + 1]], i) for i in range(count)]


HALF = torch.tensor([0.5, 0.5])
BASE, EXPERTS = state(network(0)), [state(network(seed)) for seed in (1, 2)]


@pytest.mark.parametrize("per", ["task", "tensor"])
@pytest.mark.parametrize("objective", [Entropy(), CrossEntropy()])
def test_steps_are_those_of_the_whole_merge_written_as_one_function(per, objective):
    module = network(0)
    asked = tasks(module)
    found = learn(module, BASE, EXPERTS, asked, Coefficients(per), objective, Adam(steps=3, rate=0.01, look=1))
    shapes = {name: one.shape for name, one in module.named_parameters()}
    mine = {key: one.requires_grad_() for key, one in Coefficients(per).start(shapes, 2).items()}
    optimizer = torch.optim.Adam(mine.values(), lr=0.01)
    for _ in range(3):
        merged = {
            name: BASE[name]
            + sum(mine["" if per == "task" else name].reshape(2, -1)[i, 0] * (each[name] - BASE[name])
                  for i, each in enumerate(EXPERTS))
            for name in BASE
        }  # fmt: skip
        loss = sum(objective(Told(functional_call(module, merged, (task.learning[0].inputs,))), task.learning[0], HALF)
                   for task in asked) / 2  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = min(found.curve, key=lambda look: look.stopping)
    last = found.curve[-1]
    assert last.step == 3
    if best.step == 3:
        for key, one in mine.items():
            torch.testing.assert_close(found.numbers[key], one.detach(), rtol=1e-5, atol=1e-6)
    assert found.curve[3].learning < found.curve[1].learning  # of the steps before each look


def test_the_least_squares_merge_is_found():
    """|theta - theta*|^2 with tau = (1, 0), (1, 1) and theta* - theta_0 = (2, 1): both coefficients are 1."""

    class Vector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(2))

    @dataclass(frozen=True)
    class Distance:
        needs = frozenset()

        def __call__(self, told, batch, shares):
            return (told.logits - torch.tensor([2.0, 1.0])).square().sum()

    module = Vector()
    weights = [{"theta": torch.tensor(each)} for each in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0])]
    asked = [Task("t", lambda _: module.theta, [Batch(None)])]
    found = learn(module, weights[0], weights[1:], asked, Coefficients("task"), Distance(), Adam(400, 0.05))
    torch.testing.assert_close(found.numbers[""], torch.ones(2), atol=1e-2, rtol=0)
    torch.testing.assert_close(module.theta.detach(), torch.tensor([2.0, 1.0]), atol=2e-2, rtol=0)


def test_entropy_and_its_slope_by_hand():
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    told = Entropy()(Told(logits), Batch(None), HALF)
    assert float(told.detach()) == pytest.approx(0.365334, abs=1e-6)
    told.backward()
    assert float(logits.grad[0, 0]) == pytest.approx(-0.209987, abs=1e-6)
    assert float(Entropy()(Told(torch.zeros(1, 2)), Batch(None), HALF)) == pytest.approx(math.log(2))


def test_agreement_of_a_student_who_knows_nothing_is_log_two_whatever_the_teacher_says():
    told = Agreement()(Told(torch.zeros(1, 2)), Batch(None, expert=Told(torch.tensor([[2.0, 0.0]]))), HALF)
    assert float(told) == pytest.approx(math.log(2))


def test_agreement_is_least_where_both_say_the_same():
    expert = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    same, other = (
        Agreement(2.0)(Told(each), Batch(None, expert=Told(expert)), HALF) for each in (expert, expert.roll(1, 0))
    )
    assert same < other


def test_objectives_add_up():
    told, batch = Told(torch.randn(4, 3)), Batch(None, torch.tensor([0, 1, 2, 0]))
    both = Mixed({Entropy(): 0.5, CrossEntropy(): 2.0})
    assert both.needs == {"labels"}
    assert float(both(told, batch, HALF)) == pytest.approx(
        0.5 * float(Entropy()(told, batch, HALF)) + 2 * float(CrossEntropy()(told, batch, HALF)), rel=1e-6
    )


def test_parts_of_a_tensor_have_coefficients_of_their_own():
    """theta_0 = [1, 1], tau = [1, 2], a coefficient for each: .5 and -.25 (aTLAS x 2)."""
    by = Coefficients(parts=2)
    numbers = {"w": torch.tensor([[0.5, -0.25]])}
    assert by.merged("w", torch.ones(2), torch.tensor([[1.0, 2.0]]), numbers).tolist() == [1.5, 0.5]
    assert by.start({"w": (10,), "b": (1,)}, 3)["w"].shape == (3, 2)
    assert by.start({"w": (10,), "b": (1,)}, 3)["b"].shape == (3, 1)


def test_a_scattered_partition_uses_every_part_and_is_the_same_again():
    by = Coefficients(parts=4, scattered=True, seed=3)
    numbers = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    merged = by.merged("w", torch.zeros(40), torch.ones(1, 40), numbers)
    assert set(merged.tolist()) == {1.0, 2.0, 3.0, 4.0}
    assert merged.equal(by.merged("w", torch.zeros(40), torch.ones(1, 40), numbers))


def test_a_sigmoid_starts_where_it_is_told_to():
    by = Coefficients("task", 0.1, "sigmoid")
    assert by.coefficients(by.start({}, 2)[""]).tolist() == pytest.approx([0.1, 0.1])


def test_a_mask_of_one_kind_everywhere_changes_nothing():
    deltas = torch.randn(2, 3, 4)
    plain, masked = Coefficients("task"), Masked(Coefficients("task"), logit=1.5)
    one = plain.merged("w", torch.zeros(3, 4), deltas, plain.start({"w": (3, 4)}, 2))
    torch.testing.assert_close(masked.merged("w", torch.zeros(3, 4), deltas, masked.start({"w": (3, 4)}, 2)), one)


def test_a_mask_learns_and_says_how_many_numbers_it_has():
    module = network(0)
    found = learn(module, BASE, EXPERTS, tasks(module), Masked(), CrossEntropy(), Adam(5, 0.1, look=1))
    assert found.scalars == sum(one.numel() for one in module.parameters()) + 2 * 4
    assert found.curve[-1].learning < found.curve[1].learning


def test_the_best_look_is_kept_and_the_module_has_its_weights():
    module = network(0)
    found = learn(module, BASE, EXPERTS, tasks(module), Coefficients("task"), CrossEntropy(), Adam(40, 0.2, look=2))
    best = min(found.curve, key=lambda look: look.stopping)
    with torch.no_grad():
        again = [CrossEntropy()(Told(module(t.stopping[0].inputs)), t.stopping[0], HALF) for t in tasks(module)]
    assert float(sum(again)) / 2 == pytest.approx(best.stopping, rel=1e-5)


def test_it_ends_when_it_is_no_longer_better():
    module = network(0)
    solver = Adam(500, 0.5, look=1, patience=2)
    found = learn(module, BASE, EXPERTS, tasks(module), Coefficients("task"), CrossEntropy(), solver)
    assert found.ended and found.curve[-1].step < 500


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_best():
    @dataclass(frozen=True)
    class Breaks:
        needs = frozenset()

        def __call__(self, told, batch, shares):
            return told.logits.sum() * (math.nan if told.logits.requires_grad else 1.0)

    module = network(0)
    found = learn(module, BASE, EXPERTS, tasks(module), Coefficients("task"), Breaks(), Adam(10))
    assert "nan in step 0" in found.ended
    assert found.numbers[""].tolist() == pytest.approx([0.3, 0.3])


def test_experts_teach_their_own_tasks():
    module = network(0)
    asked = taught(module, EXPERTS, tasks(module, labels=False))
    second = functional_call(module, EXPERTS[1], (asked[1].learning[0].inputs,))
    torch.testing.assert_close(asked[1].learning[0].expert.logits, second.detach())
    found = learn(module, BASE, EXPERTS, asked, Coefficients(), Agreement(), Adam(20, 0.05, look=5))
    assert found.curve[-1].learning < found.curve[1].learning


def test_what_is_missing_is_told():
    module = network(0)
    bare = tasks(module, labels=False)
    with pytest.raises(InputError, match="no labels"):
        learn(module, BASE, EXPERTS, bare, Coefficients(), CrossEntropy())
    with pytest.raises(InputError, match="what the experts say"):
        learn(module, BASE, EXPERTS, bare, Coefficients(), Agreement())
    with pytest.raises(InputError, match="nothing to learn"):
        learn(module, BASE, EXPERTS, [], Coefficients(), Entropy())
    with pytest.raises(InputError, match="expert 2 has no tensor"):
        learn(module, BASE, [EXPERTS[0], {}], bare, Coefficients(), Entropy())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_learn(name: str):
    module, preset = network(0), PRESETS[name]
    asked = taught(module, EXPERTS, tasks(module), preset.objective.needs)
    found = learn(module, BASE, EXPERTS, asked, preset.parametrisation, preset.objective, Adam(30, preset.solver.rate))
    assert min(look.stopping for look in found.curve) <= found.curve[0].stopping


def test_a_merge_of_a_gate_is_the_mean_that_the_votes_weigh():
    by, numbers = Gated(), {"gate": torch.tensor([math.log(3.0), 0.0])}
    assert by.shares(numbers).tolist() == pytest.approx([0.75, 0.25])
    merged = by.merged("w", torch.tensor([1.0]), torch.tensor([[4.0], [8.0]]), numbers)
    assert merged.tolist() == pytest.approx([1 + 0.75 * 4 + 0.25 * 8])


def test_offsets_and_lengths_belong_to_a_tensor():
    by = Gated(offsets=True, length=2.0)
    start = by.start({"w": (3,), "b": (1,)}, 2)
    assert {name: len(one) for name, one in start.items()} == {
        "gate": 2, "offset:w": 2, "offset:b": 2, "length:w": 1, "length:b": 1
    }  # fmt: skip
    start["offset:w"] = torch.tensor([0.0, math.log(3.0)])
    assert by.coefficients("w", start).tolist() == pytest.approx([0.5, 1.5])
    assert by.coefficients("b", start).tolist() == pytest.approx([1.0, 1.0])


def test_merge_and_votes_differ_in_the_second_order():
    """f(theta) = theta^2 with theta 1 and 3: the votes say 5, the merge 4."""
    by, numbers = Gated(), {"gate": torch.zeros(2)}
    merged = by.merged("w", torch.zeros(1), torch.tensor([[1.0], [3.0]]), numbers)
    assert float(merged.square()) == pytest.approx(4)
    everyone = torch.tensor([[[1.0, 0.0]], [[9.0, 0.0]]])
    batch = Batch(None, torch.tensor([0]), everyone=everyone)
    votes = (everyone.softmax(-1) / 2).sum(0)
    shares = by.shares(numbers)
    assert float(EnsembleError()(Told(votes.log()), batch, shares)) == pytest.approx(-math.log(float(votes[0, 0])))
    same, other = (float(Collaboration()(Told(each), batch, shares)) for each in (votes.log(), everyone[0]))
    assert same == pytest.approx(0, abs=1e-6) and other > 0.01


def test_votes_are_what_the_merge_comes_to_and_not_the_other_way_round():
    """Else the easiest collaboration would be one expert alone, whose votes are its own answers."""
    numbers = torch.zeros(2, requires_grad=True)
    everyone = torch.tensor([[[5.0, 0.0]], [[0.0, 5.0]]])
    told = torch.tensor([[2.0, 0.0]], requires_grad=True)
    batch = Batch(None, everyone=everyone)
    Collaboration()(Told(told), batch, Gated().shares({"gate": numbers})).backward()
    assert numbers.grad is None and told.grad.abs().sum() > 0


def test_votes_teach_the_shares():
    """The first expert is always right, so the gate opens for it; the merge is not asked."""
    numbers = torch.zeros(2, requires_grad=True)
    everyone = torch.tensor([[[5.0, 0.0]], [[0.0, 5.0]]])
    batch = Batch(None, torch.tensor([0]), everyone=everyone)
    EnsembleError()(Told(torch.zeros(1, 2)), batch, Gated().shares({"gate": numbers})).backward()
    assert numbers.grad[0] < 0 < numbers.grad[1]


def test_hidden_states_are_compared_where_a_task_shows_them():
    hidden = torch.tensor([[1.0, 2.0]])
    batch = Batch(None, expert=Told(torch.zeros(1, 2), hidden))
    assert float(Features()(Told(torch.zeros(1, 2), hidden + 2), batch, HALF)) == pytest.approx(4)


def test_a_learning_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    def run(steps: int, kept):
        module = network(0)
        solver = Adam(steps, 0.05, look=5, patience=99)
        return learn(module, BASE, EXPERTS, tasks(module), Coefficients(), CrossEntropy(), solver, kept=kept)

    whole = run(20, None)
    looks = []

    def stop(look):
        looks.append(look)
        if look.step == 10:
            raise KeyboardInterrupt

    module, kept = network(0), tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        learn(module, BASE, EXPERTS, tasks(module), Coefficients(), CrossEntropy(), Adam(20, 0.05, 5, 99), kept=kept,
              tell=stop)  # fmt: skip
    again = run(20, kept)
    assert [look.step for look in again.curve] == [look.step for look in whole.curve]
    for name, one in whole.numbers.items():
        assert again.numbers[name].equal(one)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_contiguous_parts_are_those_of_the_index(parts: int):
    """Part p has the numbers i with floor(i parts / count) = p."""
    deltas, numbers = torch.randn(2, 5, 4), {"w": torch.randn(2, parts)}
    which = torch.arange(20) * parts // 20
    expected = (numbers["w"][:, which] * deltas.reshape(2, -1)).sum(0).reshape(5, 4)
    merged = Coefficients(parts=parts).merged("w", torch.zeros(5, 4), deltas, numbers)
    torch.testing.assert_close(merged, expected)
