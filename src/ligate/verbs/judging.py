"""Who says what merged weights are worth: the network of the user's tasks, or a function that a caller hands in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.recipe.schema import DataSpec, Recipe
from ligate.tasks.loading import require_transformers
from ligate.tasks.network import Network, network_of

from .learning_data import counted, in_batches
from .lesson import examples_of, folder_of, places_of, wanted_of
from .undertaking import Undertaking

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.tasks.questions import Asked

State = Mapping[str, "Tensor"]
Ask = Callable[[State], Mapping[str, float]]
"""Merged weights by name -> a number for each task."""


@dataclass(frozen=True)
class Judge:
    """Who says what merged weights are worth.

    Args:
        tasks: what is judged.
        ask: on the examples that choose.
        higher: whether more is better.
        check: on examples that choose nothing; the best is asked there once, at the end.
        about: what the answers depend on besides the weights, such as digests of data.
    """

    tasks: Sequence[str]
    ask: Ask
    higher: bool = True
    check: Ask | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def judge_of(recipe: Recipe, job: Undertaking) -> Judge:
    """The tasks of the recipe's `data:`, answered by the network of the base, or of the first model without one.

    The share that decides when a learning is to stop chooses here; the rest is asked once at the end. Accuracy, and for
    language models bits per token.

    Raises:
        RecipeError, InputError, Problems: there are no data, or they do not fit the models.
    """
    data, step, plan = _data(recipe), job.stages[-1].step, job.stages[-1].plan
    require_transformers(data.place)
    base = folder_of(job, step.base or step.models[0])
    examples = examples_of(data, job, labelled=data.kind != "causal-lm")
    network = network_of(data.kind, base, wanted_of(data, step.models, job, examples), data.length, data.place)
    places = places_of(network, {out.name: out for out in plan.outs})
    halves = ({name: one.stopping for name, one in examples.items()},
              {name: one.learning for name, one in examples.items()})  # fmt: skip
    ask, check = (_asking(network, places, half, data) for half in halves)
    told = {"kind": data.kind, "length": data.length, "share": data.share, "labels": "used", "tasks": counted(examples)}
    return Judge([task.name for task in data.tasks], ask, data.kind != "causal-lm", check, {"data": told})


def _data(recipe: Recipe) -> DataSpec:
    """What is asked; refused where a search cannot use it."""
    step, data = recipe.steps[-1], recipe.data
    if data is None:
        hint = "for example `data: {kind: classification, tasks: {NAME: FILE.csv}}`; see docs/search.md."
        raise RecipeError("a search needs `data:` that chooses", where=str(step.place), hint=hint)
    if data.test_inputs:
        hint = "leave it out, and give examples on which the result will not be tested."
        raise RecipeError("a search chooses by labels: no `test_inputs`", where=str(data.place), hint=hint)
    without = [task for task in data.tasks if task.name not in step.models]
    if data.kind == "sequence-classification" and without:
        hint = f"{nearest(without[0].name, step.models)} Tasks have the names of their experts."
        text = f"task `{without[0].name}` has no model of its name, whose head answers"
        raise RecipeError(text, where=str(without[0].place), hint=hint)
    return data


def _asking(network: Network, places: Mapping[str, str], half: Mapping[str, Sequence[Asked]], data: DataSpec) -> Ask:
    """What merged weights are worth on these examples, which are made ready once."""
    batches = {
        task: [network.examples(task, some) for some in in_batches(asked, data.batch)] for task, asked in half.items()
    }
    value = _bits if data.kind == "causal-lm" else _right

    def ask(state: State) -> dict[str, float]:
        import torch

        with torch.no_grad():
            for name, one in network.module.named_parameters():
                if name in places:
                    one.copy_(state[places[name]])
            told = {
                task: torch.cat([value(network.ask(task, one.inputs), one.right) for one in each])
                for task, each in batches.items()
            }
        return {task: float(each.double().mean()) for task, each in told.items()}

    return ask


def _right(logits: Tensor, right: Tensor) -> Tensor:
    """[N] 1 where the likeliest class is the right one."""
    return logits.argmax(-1) == right


def _bits(logits: Tensor, right: Tensor) -> Tensor:
    """[N] of each token."""
    return -logits.log_softmax(-1).gather(-1, right[:, None])[:, 0] / math.log(2)
