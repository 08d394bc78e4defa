"""Multi-Level Collaboration in Model Merging (NeuLig), arXiv 2503.01268."""

from __future__ import annotations

from ligate.learn.gradient import Adam
from ligate.learn.objectives import Collaboration, CrossEntropy, EnsembleError, Mixed
from ligate.learn.parametrisations import Gated

from .preset import Preset


def neulig() -> Preset:
    """One gate for merge and vote; both are to be right, and the merge to say what all vote."""
    return Preset(
        Gated(),
        Mixed({CrossEntropy(): 1.0, EnsembleError(): 1.0, Collaboration(): 1.0}),
        Adam(500, 1e-1),
        "Multi-Level Collaboration in Model Merging, arXiv 2503.01268 (after its description)",
        "few labels",
    )
