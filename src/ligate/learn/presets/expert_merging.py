"""Expert Merging: Unsupervised Expert Alignment and Importance-Guided Layer Chunking, arXiv 2509.25712."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ligate.learn.gradient import Adam, Learned
from ligate.learn.importance import Chunked, allotted, importances
from ligate.learn.merging import Weights
from ligate.learn.objectives import Agreement, Features, Mixed
from ligate.learn.parametrisations import Coefficients
from ligate.learn.priors import Near

from .preset import Preset

_COEFFICIENTS = Coefficients("tensor", 0.1, "sigmoid")


def expert_merging() -> Preset:
    """Each task as its own expert says, in logits and in the hidden states that the task shows; coefficients in (0, 1)
    that stay near .1 unless the experts speak against it.

    The values are those of the authors' command line (Littleor/ExpertMerging).
    Differs: its rate restarts along cosines of 50, 100, ... steps, here there is one cosine; it leaves norms, biases
        and embeddings at the base.
    """
    return Preset(
        _COEFFICIENTS,
        Mixed({Agreement(): 1.0, Features(): 1.0}),
        Adam(500, 0.5, decay=1e-5, clip=1.0, cosine=True),
        "Expert Merging, arXiv 2509.25712",
        prior=Near(_COEFFICIENTS, 5.0),
    )


def expert_merging_pp() -> Preset:
    """Expert Merging, then again with more coefficients for the tensors that count most and none for the least.

    A reconstruction where `importances` says so; the steepness of the allotment is not known (1), the budget is about
    as many coefficients as there are tensors.
    """
    return replace(expert_merging(), source="Expert Merging++, arXiv 2509.25712", then=_in_chunks)


def _in_chunks(preset: Preset, base: Weights, experts: Sequence[Weights], learned: Learned) -> Preset:
    importance = importances(base, experts, _COEFFICIENTS, learned.numbers)
    return replace(preset, parametrisation=Chunked(_COEFFICIENTS, allotted(importance)), then=None)
