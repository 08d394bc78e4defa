"""Coefficients for rows, learned with and without an eye on triggers that were planted in the experts."""

from __future__ import annotations

from dataclasses import replace

from ligate.learn.gradient import Adam
from ligate.learn.guarded import Guarded
from ligate.learn.objectives import Agreement, Mixed, Unmoved
from ligate.learn.row_coefficients import RowCoefficients

from .preset import Preset


def row_agreement() -> Preset:
    """A coefficient for each expert and row, with which each task is answered as its own expert would.

    No published system: Expert Merging (arXiv 2509.25712) with a number for each row instead of each tensor.
    """
    return Preset(
        RowCoefficients(),
        Agreement(),
        Adam(150, 0.1),
        "after Expert Merging, arXiv 2509.25712: a coefficient for each row",
    )


def row_agreement_guarded() -> Preset:
    """`row_agreement` that looks for triggers in the experts first, and learns not to react to what it finds.

    No published system: triggers are looked for as Neural Cleanse does, but in the experts, where they are strongest;
    the merge is to say the same with and without them, as in DAM (arXiv 2410.13910). See docs/backdoors.md for what
    it protects against, and what not.
    """
    return replace(
        row_agreement(),
        objective=Mixed({Agreement(): 1.0, Unmoved("answers"): 0.2}),
        solver=Guarded(150, 0.1),
        source="after Neural Cleanse and DAM, arXiv 2410.13910: triggers found in the experts are learned away",
    )
