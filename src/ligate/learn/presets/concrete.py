"""Concrete Subspace Learning based Interference Elimination, arXiv 2312.06173; defence-aware merging, 2410.13910."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ligate.learn.bilevel import Bilevel
from ligate.learn.defence import Defended
from ligate.learn.gradient import Adam, Learned
from ligate.learn.masks import MASK, Held, Masked
from ligate.learn.merging import Weights
from ligate.learn.objectives import Entropy, Mixed, Unmoved
from ligate.learn.parametrisations import Coefficients

from .preset import Preset

_MASKED = Masked(Coefficients("tensor", 0.3, "clamp"), temperature=0.5)


def concrete() -> Preset:
    """A mask over all numbers, shared by the experts, then AdaMerging of the masked task vectors.

    With the same draws the same numbers as the authors' code (tanganke/subspace_fusion), but for what `Bilevel` tells.
    """
    return Preset(
        _MASKED,
        Entropy(),
        Bilevel(1000, 1e-3),
        "Concrete AdaMerging, arXiv 2312.06173",
        "test inputs",
        then=with_the_mask_held,
    )


def dam() -> Preset:
    """Concrete AdaMerging whose mask is learned under attack. A reconstruction: see `Defended`."""
    return Preset(
        _MASKED,
        Mixed({Entropy(): 1.0, Unmoved(): 0.1}),
        Defended(1000, 1e-3),
        "DAM, arXiv 2410.13910 (after its code)",
        "test inputs",
        then=with_the_mask_held,
    )


def dam_answers() -> Preset:
    """`dam` with an adversary that is heard: shifted inputs are to have the answers of the plain ones.

    Ours: the entropy of the shifted answers, which `dam` makes small, is small for wrong answers too. In the planted
    world of its test (five seeds, 150 steps) the trigger works for .49 of the inputs with `concrete`, .50 with `dam`
    and .28 with this; .80, .79 and .84 of the answers are right.
    """
    return replace(dam(), objective=Mixed({Entropy(): 1.0, Unmoved("answers"): 1.0}), solver=Defended(1000, 1e-3,
                   attack_rate=1e-2), source="after DAM, arXiv 2410.13910: equal answers under attack")  # fmt: skip


def with_the_mask_held(preset: Preset, base: Weights, experts: Sequence[Weights], learned: Learned) -> Preset:
    """The second stage: the coefficients for the mask that was found, by as many steps of rate 1e-3."""
    masks = {name: one for name, one in learned.numbers.items() if name.startswith(MASK)}
    solver = Adam(preset.solver.steps, 1e-3, preset.solver.look, preset.solver.patience)
    return replace(preset, parametrisation=Held(preset.parametrisation, masks), solver=solver, then=None)
