"""A published system of learned merging: its three choices, and what comes before and after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ligate.learn.gradient import Adam, Learned, Look, Task, learn, taught
from ligate.learn.merging import Weights
from ligate.learn.objectives import Objective, Prior
from ligate.learn.parametrisations import Parametrisation

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

Experts = Callable[[Weights, Sequence[Weights]], Sequence[Weights]]
"""(base, experts) -> the experts that are merged."""


@dataclass(frozen=True)
class Preset:
    """
    Args:
        source: where the choices come from; `inputs`: what its authors learn from.
        prior: what is expected of the numbers whatever the tasks say.
        experts: what is made of the experts before their merge is learned; none: they are taken as they are.
        rule: the ordinary rule that does the same with the numbers as its weights.
        then: the next stage, which may depend on what this one has learned: (this preset, base, experts as they are
            merged, learned) -> the preset of the next stage. None: this is the last.
    """

    parametrisation: Parametrisation
    objective: Objective
    solver: Adam
    source: str
    inputs: str = "unlabelled"
    prior: Prior | None = None
    experts: Experts | None = None
    rule: str = "merge/task_arithmetic"
    then: Callable[[Preset, Weights, Sequence[Weights], Learned], Preset] | None = None

    def learned(
        self,
        module: nn.Module,
        base: Weights,
        experts: Sequence[Weights],
        tasks: Sequence[Task],
        *,
        kept: Path | None = None,
        tell: Callable[[Look], None] = lambda look: None,
    ) -> Learned:
        """All stages, one after the other; the module is left with the merge.

        The experts are asked what they say where the objective needs it. The numbers found make the merge by
        `Learned.by` of `self.merged(base, experts)`. With `kept` a learning that was stopped goes on; each stage has a
        file of its own.

        Raises:
            InputError: as `learn` and `taught`.
        """
        if self.objective.needs & {"expert", "everyone"}:
            tasks = taught(module, experts, tasks, self.objective.needs)
        merged = self.merged(base, experts)
        found = learn(module, base, merged, tasks, self.parametrisation, self.objective, self.solver, prior=self.prior,
                      kept=kept, tell=tell)  # fmt: skip
        if self.then is None:
            return found
        following = self.then(self, base, merged, found)
        after = None if kept is None else kept.with_name(f"{kept.name}.then")
        return replace(following.learned(module, base, merged, tasks, kept=after, tell=tell), before=found)

    def merged(self, base: Weights, experts: Sequence[Weights]) -> Sequence[Weights]:
        """The experts whose deltas the numbers multiply."""
        return experts if self.experts is None else self.experts(base, experts)
