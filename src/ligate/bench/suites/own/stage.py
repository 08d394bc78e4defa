"""What stands ready when everything in a file of the suite `own` is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ligate.bench.suite import JOINT, PRETRAINED, Metric, Task, Trained, World
from ligate.bench.suites.own.config import Config


class Stage(NamedTuple):
    """A world for any seed, what is told of it, and how it is scored."""

    world: Callable[[int], World]
    facts: Callable[[World], Mapping[str, str]]
    metric: Metric


def tasks_of(config: Config, classes: Mapping[str, int]) -> list[Task]:
    labels = {model.label for model in config.experts}
    return [Task(task.name, task.name if task.name in labels else None, classes[task.name]) for task in config.tasks]


def people(config: Config, found: Mapping[str, Trained]) -> tuple[list[Trained], list[Trained]]:
    """The experts, and the others."""
    experts = [found[model.label] for model in config.experts]
    return experts, [found[label] for label in (PRETRAINED, JOINT) if label in found]
