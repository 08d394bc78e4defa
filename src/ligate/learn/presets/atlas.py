"""Knowledge Composition using Task Vectors with Learned Anisotropic Scaling (aTLAS), arXiv 2407.02880."""

from __future__ import annotations

from dataclasses import replace

from ligate.learn.forgetting import Forgetting
from ligate.learn.gradient import Adam
from ligate.learn.objectives import CrossEntropy
from ligate.learn.parametrisations import Coefficients

from .preset import Preset

_SOURCE = "aTLAS, arXiv 2407.02880"
_SOLVER = Adam(500, 1e-1, decay=0.1, clip=1.0, cosine=True)


def atlas() -> Preset:
    """One coefficient for each expert and tensor, which may be negative, from a few labelled examples.

    The same numbers as the authors' code (fredzzhang/atlas).
    Differs: `clip` is of the mean over the tasks, in that code of their sum; it warms up, and learns by epochs.
    """
    return Preset(Coefficients("tensor", 0.0), CrossEntropy(), _SOLVER, _SOURCE, "few labels")


def atlas_k() -> Preset:
    """aTLAS x K: each tensor is parted at random into K (10) groups of numbers with a coefficient each.

    Differs: the authors' code changes only tensors of two dimensions, and leaves biases and norms at the base; here
        all are parted. Tensors of one shape share a partition there, here tensors of one size.
    """
    return replace(atlas(), parametrisation=Coefficients("tensor", 0.0, parts=10, scattered=True),
                   source=f"{_SOURCE} (x K)")  # fmt: skip


def atlas_negation() -> Preset:
    """Ascent on tasks of negative weight, descent on the others, until one of these has lost a twentieth of what it
    knew.

    The task vector of what is to be forgotten is learned to be taken away. As the authors' code (learn_task_negation).
    """
    return replace(atlas(), solver=Forgetting(500, 1e-2, decay=0.1, clip=1.0), source=f"{_SOURCE} (negation)")
