"""A published system of learned merging: its three choices, and what comes before and after them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ligate.learn.gradient import Adam, Learned, Look, Task, learn, taught
from ligate.learn.merging import Merge, Weights
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
        pooled: every task is asked about the inputs of all tasks, where one pass of the network serves all heads; so
            each expert teaches on the inputs of the others, too. Whoever makes the tasks makes one of all of them.
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
    pooled: bool = False

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

        The experts, as they were given, are asked what they say where the objective needs it and the batches do not
        tell it. The numbers found make the merge by `Learned.by` of `self.merged(base, experts)`. Of two stages whose
        losses can be compared the better one counts. With `kept` a learning that was stopped goes on; each stage has a
        file of its own.

        Raises:
            InputError: as `learn` and `taught`.
        """
        if _untaught(tasks, self.objective):
            tasks = taught(module, experts, tasks, self.objective.needs)
        merged = self.merged(base, experts)
        found = learn(module, base, merged, tasks, self.parametrisation, self.objective, self.solver, prior=self.prior,
                      kept=kept, tell=tell)  # fmt: skip
        if self.then is None:
            return found
        following = self.then(self, base, merged, found)
        after = None if kept is None else kept.with_name(f"{kept.name}.then")
        further = following.learned(module, base, experts, tasks, kept=after, tell=tell)
        losses = found.best.stopping, further.best.stopping
        worse = losses[0] < losses[1] or math.isnan(losses[1])
        if not (worse and self._compares_with(following)):
            return replace(further, before=found)
        Merge(module, base, merged, found.by).write(found.numbers)
        return replace(found, after=further)

    def merged(self, base: Weights, experts: Sequence[Weights]) -> Sequence[Weights]:
        """The experts whose deltas the numbers multiply."""
        return experts if self.experts is None else self.experts(base, experts)

    def _compares_with(self, other: Preset) -> bool:
        """Whether the losses on the stopping batches are of the same thing."""
        wants = [(one.objective, one.prior, type(one.solver).stopping, one.solver.keep) for one in (self, other)]
        return wants[0] == wants[1] and self.solver.keep == "best"


def _untaught(tasks: Sequence[Task], objective: Objective) -> bool:
    """Whether a batch lacks what the experts say, and the objective needs it."""
    batches = [batch for task in tasks for batch in (*task.learning, *task.stopping)]
    return ("expert" in objective.needs and any(batch.expert is None for batch in batches)) or (
        "everyone" in objective.needs and any(batch.everyone is None for batch in batches)
    )
