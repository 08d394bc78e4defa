r"""Which of some candidates a network was fine-tuned from, by what they compute on a few inputs; nothing is learned.

A network after fine-tuning says nearly what its parent would say after one linear step along the difference of weights.
With f_P(X) the features of a candidate, J_P their derivative by its weights and d = theta_C - theta_P,

    features      s(P) = sim( f_P(X) + a J_P(X) d,  f_C(X) )
    similarity    s(P) = sim(f_P(X), f_C(X)) + a <d sim / d f_P, J_P(X) d>,   at most the best that sim can be
    none          s(P) = sim(f_P(X), f_C(X))

and the parent is the candidate of the greatest s(P). One forward derivative for each candidate; no labels.

Source: "Neural Lineage", arXiv 2406.11129. `similarity` is what the authors' code computes for its norms (with a =
`alpha`, by a backward pass; it cuts off l2 at 0, but not l1); `none` is their baseline. The paper itself was known to
us by its abstract, its poster and that code.
Differs: `features` takes the step before features are compared, so a step too far costs; in `similarity` a whole step
towards a true parent overshoots (at a = 1/2 the l2 distance is already gone), and many candidates come out as perfect.
The derivative is the same for every measure, CKA and cosine included. Candidates of equal s stand in the order of the
plain similarity.

What it cannot do: weights must stand in the same coordinates. If the child's units are in another order, d is no step
of fine-tuning, and s(P) means nothing; `coordinates.beside` brings them back first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ligate.core.errors import InputError

from .similarity import Similarity, SimilarityName, similarity
from .tangent import Features, Net, Tangent, derived, features_of, net, shared, tangent

if TYPE_CHECKING:
    from torch import Tensor, nn

Approximation = Literal["features", "similarity", "none"]

SIMILARITY: SimilarityName = "cosine"
STEP = 1.0

_MOST = 0.5  # of the numbers must have a partner for a difference of weights to mean something


@dataclass(frozen=True)
class Candidate:
    """How alike a candidate and the child are.

    Args:
        score: s(P), by which candidates are ranked; NaN where they cannot be compared.
        plain: the similarity without the step.
        explained: share of the squared difference of features that the whole step accounts for: 1 all of it, 0 none,
            negative where the step leads away, as it does from most strangers. None where no step was taken.
        distance: |theta_C - theta_P| / |theta_C| over shared tensors; None where there are none.
        left: tensors of the child without a partner of their name and shape: a new head.
        why: why no step was taken, or why there is no score at all; empty otherwise.
    """

    name: str
    score: float
    plain: float
    explained: float | None
    distance: float | None
    left: tuple[str, ...] = ()
    why: str = ""

    @property
    def comparable(self) -> bool:
        return self.score == self.score


@dataclass(frozen=True)
class Ranking:
    """Candidates, likeliest parent first; those of other shapes come behind all others, by plain similarity."""

    candidates: tuple[Candidate, ...]

    @property
    def parent(self) -> str:
        return self.candidates[0].name

    @property
    def margin(self) -> float:
        """How far the score of the first is ahead of the second's; infinite if nobody else can be compared."""
        scores = [each.score for each in self.candidates if each.comparable and not each.why]
        return scores[0] - scores[1] if len(scores) > 1 else float("inf")


def neural_lineage(
    child: nn.Module,
    parents: Mapping[str, nn.Module],
    features: Features,
    *,
    similarity: SimilarityName = SIMILARITY,
    approximation: Approximation = "features",
    step: float = STEP,
) -> Ranking:
    """Rank candidates for the parent of a network by what all of them say of a few unlabelled inputs.

    Args:
        child, parents: networks in evaluation mode; of whatever architecture, but only those with tensors of the same
            names and shapes are compared with the step of fine-tuning.
        features: network -> [N, ...] of the inputs, for example `reading(inputs)`: what the head reads.
        similarity: cosine, l2, l1 or cka.
        step: a of the equation.

    Raises:
        RecipeError: no such similarity.
        InputError: there are no parents, or a network cannot be asked.
    """
    nets = {name: net(each, features) for name, each in parents.items()}
    return ranked(net(child, features), nets, similarity, approximation, step)


def ranked(
    child: Net,
    parents: Mapping[str, Net],
    measure: str = SIMILARITY,
    approximation: Approximation = "features",
    step: float = STEP,
) -> Ranking:
    """As `neural_lineage`, for networks whose weights are apart from them."""
    sim = similarity(measure)
    if not parents:
        raise InputError("there is nobody that it could come from", where="trace", hint="give at least one candidate.")
    said = features_of(child)
    found = [_candidate(name, each, child, said, sim, approximation, step) for name, each in parents.items()]
    return Ranking(tuple(sorted(found, key=_place)))


def scored(sim: Similarity, at: Tangent, said: Tensor, approximation: Approximation, step: float) -> float:
    """s(P) of the equation, from what the candidate and the child say."""
    if approximation == "features":
        return float(sim.of(at.features + step * at.change, said))
    if approximation == "none":
        return float(sim.of(at.features, said))
    value, slope = derived(lambda features: sim.of(features, said), at.features, at.change)
    return min(float(value + step * slope), sim.best)


def explained(at: Tangent, said: Tensor) -> float:
    """1 - |f_C - f_P - J d|^2 / |f_C - f_P|^2; 0 where both say the same."""
    gap = said - at.features
    whole = float(gap.square().sum())
    return 1 - float((gap - at.change).square().sum()) / whole if whole > 0 else 0.0


def _candidate(
    name: str, parent: Net, child: Net, said: Tensor, sim: Similarity, approximation: Approximation, step: float
) -> Candidate:
    common = shared(child.state, parent.state)
    left = tuple(each for each in child.state if each not in common)
    apart = _distance(parent, child, common)
    why = _no_step(child, common)
    at = tangent(parent, child.state) if approximation != "none" and not why else None
    own = at.features if at else features_of(parent)
    if own.shape != said.shape:
        fits = len(own) == len(said) and sim.any_width
        plain = float(sim.of(own, said)) if fits else float("nan")
        why = f"its features are {list(own.shape)}, the child's {list(said.shape)}"
        return Candidate(name, plain, plain, None, apart, left, why)
    plain = float(sim.of(own, said))
    if at is None:
        return Candidate(name, plain, plain, None, apart, left, why)
    return Candidate(name, scored(sim, at, said, approximation, step), plain, explained(at, said), apart, left)


def _no_step(child: Net, common: Sequence[str]) -> str:
    """Why the way from a candidate to the child is not known; empty where it is."""
    whole = sum(value.numel() for value in child.state.values())
    share = sum(child.state[name].numel() for name in common) / max(whole, 1)
    return "" if share > _MOST else f"shares {share:.0%} of the child's numbers by name and shape"


def _distance(parent: Net, child: Net, names: Sequence[str]) -> float | None:
    apart = sum(float((child.state[name].double() - parent.state[name].double()).square().sum()) for name in names)
    whole = sum(float(child.state[name].double().square().sum()) for name in names)
    return (apart / whole) ** 0.5 if whole > 0 else None


def _place(each: Candidate) -> tuple[bool, bool, float, float]:
    """Those with a step or asked without one first, then by score; among equals the plain similarity."""
    if not each.comparable:
        return True, True, 0.0, 0.0
    return bool(each.why), False, -each.score, -each.plain
