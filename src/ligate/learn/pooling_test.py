"""All tasks asked at once against each of them asked for itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.core.errors import InputError
from ligate.learn.gradient import Adam, Task, backward, learn, loss_of, taught
from ligate.learn.objectives import Agreement, Batch, Collaboration, CrossEntropy, Entropy, Told
from ligate.learn.parametrisations import Coefficients
from ligate.learn.pooling import Known, pooled

SHARES = torch.full((2,), 0.5)


def body(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(4, 6)


HEADS = {"first": torch.randn(3, 6, generator=torch.Generator().manual_seed(8)),
         "second": torch.randn(2, 6, generator=torch.Generator().manual_seed(9))}  # fmt: skip


def examples(task: int, count: int, known: bool = True) -> list[Known]:
    draw = torch.Generator().manual_seed(task)
    rows = torch.randn(count, 4, generator=draw)
    return [Known(row, task, number % 2) if known else Known(row, task) for number, row in enumerate(rows)]


def together(module: nn.Module, size: int = 4, known: bool = True) -> Task:
    some = [*examples(0, 5, known), *examples(1, 3, known)]

    def ask(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        states = module(inputs).tanh()
        return {name: states @ head.T for name, head in HEADS.items()}

    return pooled({"first": 0, "second": 1}, ask, torch.stack, some, some[:4], size)


def test_every_example_is_in_one_batch_and_knows_the_class_of_its_own_task_alone():
    task = together(body(0))
    inputs = torch.cat([batch.inputs for batch in task.learning])
    right = torch.cat([batch.right for batch in task.learning])
    assert sorted(map(tuple, inputs.tolist())) == sorted(tuple(one.example.tolist()) for one in
                                                         [*examples(0, 5), *examples(1, 3)])  # fmt: skip
    assert ((right >= 0).sum(0) == torch.tensor([5, 3])).all() and ((right >= 0).sum(1) == 1).all()


def test_the_loss_is_that_of_all_heads_and_that_of_each_examples_own_one():
    module = body(0)
    task = together(module, size=8)
    (batch,) = task.learning
    everywhere, own = [], []
    for number, head in enumerate(HEADS.values()):
        log = (module(batch.inputs).tanh() @ head.T).log_softmax(1)
        entropy = -(log.exp() * log).sum(1)
        everywhere.append(entropy.mean())
        own += [one for one, mine in zip(entropy, batch.own.tolist(), strict=True) if mine == number]
    due = (torch.stack(everywhere).mean() + torch.stack(own).mean()) / 2
    torch.testing.assert_close(loss_of(Entropy(), task.told(batch), batch, SHARES), due)


def test_unknown_classes_do_not_count():
    module = body(0)
    task = together(module, size=8)
    (batch,) = task.learning
    means, own = [], []
    for number, head in enumerate(HEADS.values()):
        log, right = (module(batch.inputs).tanh() @ head.T).log_softmax(1), batch.right[:, number]
        known = right >= 0
        each = -log[known].gather(1, right[known, None])[:, 0]
        means.append(each.mean())
        own += each.tolist()
    due = float(torch.stack(means).mean().detach() + sum(own) / len(own)) / 2
    found = loss_of(CrossEntropy(), task.told(batch), batch, SHARES)
    assert float(found.detach()) == pytest.approx(due, rel=1e-5)


def test_each_head_is_taught_by_its_own_expert_on_all_inputs():
    module, experts = body(0), [body(seed) for seed in (1, 2)]
    (task,) = taught(module, [one.state_dict() for one in experts], [together(module)])
    for batch in (*task.learning, *task.stopping):
        pairs = zip(HEADS.values(), experts, strict=True)
        due = torch.cat([expert(batch.inputs).tanh() @ head.T for head, expert in pairs], 1)
        torch.testing.assert_close(batch.expert.logits, due.detach())


def test_one_pass_has_the_gradient_of_all_tasks():
    module, experts = body(0), [body(seed).state_dict() for seed in (1, 2)]
    start = {name: one.clone() for name, one in module.state_dict().items()}
    (task,) = taught(module, experts, [together(module, size=8)])
    module.load_state_dict(start)
    plain = task._replace(learning=[batch._replace(own=None) for batch in task.learning])
    backward([plain], Agreement(), lambda: SHARES, 0)
    found = module.weight.grad.clone()
    module.zero_grad()
    (batch,) = task.learning
    alone = [
        Task(name, lambda inputs, head=head: module(inputs).tanh() @ head.T,
             [Batch(batch.inputs, expert=Told(batch.expert.logits.split((3, 2), 1)[number]))], (), number)
        for number, (name, head) in enumerate(HEADS.items())
    ]  # fmt: skip
    backward(alone, Agreement(), lambda: SHARES, 0)
    torch.testing.assert_close(found, module.weight.grad)


def test_a_merge_is_learned_from_it():
    module, base = body(0), body(0).state_dict()
    experts = [body(seed).state_dict() for seed in (1, 2)]
    tasks = taught(module, experts, [together(module)])
    found = learn(module, base, experts, tasks, Coefficients(), Agreement(), Adam(60, 0.05, look=20))
    assert found.best.stopping < found.curve[0].stopping - 0.01


def test_without_labels_a_supervised_objective_is_refused_and_so_are_votes():
    module, base = body(0), body(0).state_dict()
    for task, objective, text in (
        (together(module, known=False), CrossEntropy(), "labels"),
        (together(module), Collaboration(), "votes|experts say"),
    ):
        with pytest.raises(InputError, match=text):
            learn(module, base, [base], [task], Coefficients(), objective)
