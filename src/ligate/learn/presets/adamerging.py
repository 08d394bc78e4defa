"""AdaMerging: Adaptive Model Merging for Multi-Task Learning, arXiv 2310.02575."""

from __future__ import annotations

from ligate.learn.gradient import Adam
from ligate.learn.objectives import Entropy
from ligate.learn.parametrisations import Coefficients
from ligate.learn.processed import elected

from .preset import Preset

_SOURCE = "AdaMerging, arXiv 2310.02575"
_SOLVER = Adam(500, 1e-3)


def adamerging_task() -> Preset:
    """One coefficient for each expert, by the entropy of answers to test inputs without labels.

    The same numbers as the authors' code (EnnengYang/AdaMerging).
    Differs: it takes the numbers of the last step, and so does this where there is nothing to look at; two batches of
        16 of every task are asked in its steps, and their losses summed.
    """
    return Preset(Coefficients("task", 0.3, "clamp"), Entropy(), _SOLVER, _SOURCE, "test inputs")


def adamerging() -> Preset:
    """One coefficient for each expert and tensor; else as `adamerging_task`."""
    return Preset(Coefficients("tensor", 0.3, "clamp"), Entropy(), _SOLVER, _SOURCE, "test inputs")


def adamerging_pp() -> Preset:
    """AdaMerging++: one coefficient for each expert and tensor, for task vectors that TIES has trimmed to a fifth and
    cleared of conflicts. The same numbers as the authors' code."""
    return Preset(
        Coefficients("tensor", 0.3, "clamp"), Entropy(), _SOLVER, f"{_SOURCE} (++)", "test inputs", experts=elected
    )
