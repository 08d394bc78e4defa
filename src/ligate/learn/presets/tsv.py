"""TSV-Merge, arXiv 2412.00081, with weights that are learned."""

from __future__ import annotations

from dataclasses import replace

from ligate.learn.gradient import Adam
from ligate.learn.objectives import Agreement, CrossEntropy, Mixed
from ligate.learn.parametrisations import Coefficients
from ligate.learn.processed import orthogonal

from .preset import Preset


def tsv_agreement() -> Preset:
    """A weight for each expert and tensor of TSV-Merge, with which each task is answered as its own expert would.

    No published system: AdaMerging's weights (arXiv 2310.02575) for TSV-Merge's directions, learned from what Expert
    Merging (arXiv 2509.25712) learns from. Every expert is asked about the inputs of all tasks. No labels.
    """
    return Preset(
        Coefficients("tensor", 1.5),
        Agreement(2.0),
        Adam(200, 3e-2, look=40, cosine=True),
        "TSV-Merge, arXiv 2412.00081, with learned weights",
        experts=orthogonal,
        rule="merge/tsv_m",
        pooled=True,
    )


def tsv_labels() -> Preset:
    """The same, and the classes that are right as well: for a few examples with labels."""
    return replace(tsv_agreement(), objective=Mixed({Agreement(2.0): 1.0, CrossEntropy(): 1.0}), inputs="few labels")
