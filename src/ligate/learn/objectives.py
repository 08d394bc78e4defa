"""What a learned merge is to be good at: the second of the three choices. Losses in nats, means over a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["labels", "expert", "everyone"]
Some = TypeVar("Some")


class Told(NamedTuple):
    """What a network says of N examples: logits [N, C], and hidden states [N, ...] of a task that shows them.

    Where somebody attacks, `shifted` [N, C] is what it says of the same examples with the adversary's shift. Where
    several heads are asked of the same examples their logits lie side by side, and `heads` are the classes of each.
    """

    logits: Tensor
    hidden: Tensor | None = None
    shifted: Tensor | None = None
    heads: tuple[int, ...] | None = None


class Batch(NamedTuple):
    """Examples of one task: whatever the task's `ask` takes, and what is known of them.

    Args:
        right: [N] the right classes, [N, heads] where several heads are asked; what is negative nobody knows.
        own: [N] whose example each is, where several heads are asked: the number of its own head.
        expert: what the task's own expert says.
        everyone: [K, N, C] the logits of all experts.
    """

    inputs: object
    right: Tensor | None = None
    expert: Told | None = None
    everyone: Tensor | None = None
    own: Tensor | None = None


class Objective(Protocol):
    """`shares` [K] say how much each expert has in the merge; they sum to 1, and gradients flow through them."""

    @property
    def needs(self) -> frozenset[Need]: ...
    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor: ...


class Prior(Protocol):
    """A loss of the numbers alone, whatever the merge says of the tasks."""

    def __call__(self, numbers: Mapping[str, Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Entropy:
    """H = -sum_c p_c log p_c (AdaMerging, arXiv 2310.02575): merged networks that are sure are right more often."""

    needs: frozenset[Need] = frozenset()

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        log = told.logits.log_softmax(-1)
        return -(log.exp() * log).sum(-1).mean()


@dataclass(frozen=True)
class CrossEntropy:
    """-log p of the right class: supervised, as aTLAS for few examples (arXiv 2407.02880)."""

    needs: frozenset[Need] = frozenset({"labels"})

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        right = _there(batch.right)
        known = right >= 0
        total = torch.nn.functional.cross_entropy(told.logits, right.where(known, -100), reduction="sum")
        return total / known.sum().clamp_min(1)


@dataclass(frozen=True)
class Agreement:
    """T^2 times the cross-entropy of softmax(expert / T) and softmax(told / T): each task as its own expert says.

    Expert Merging, arXiv 2509.25712; knowledge distillation, arXiv 1503.02531.
    """

    temperature: float = 1.0
    needs: frozenset[Need] = frozenset({"expert"})

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        t = self.temperature
        return t * t * _against((_there(batch.expert).logits / t).softmax(-1), told.logits / t)


@dataclass(frozen=True)
class Features:
    """The mean square of the difference between hidden states and those of the task's own expert.

    A task that shows none loses nothing by them.
    """

    needs: frozenset[Need] = frozenset({"expert"})

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        if told.hidden is None:
            return told.logits.new_zeros(())
        return torch.nn.functional.mse_loss(told.hidden, _there(_there(batch.expert).hidden))


@dataclass(frozen=True)
class Unmoved:
    """What is lost under attack; nothing where nobody attacks.

    Args:
        by: `entropy`: that of the shifted answers (DAM, arXiv 2410.13910, as its authors' code has it); `answers`: the
            cross-entropy of the plain answers and the shifted ones, which asks for the same answers rather than sure
            ones.
    """

    by: Literal["entropy", "answers"] = "entropy"
    needs: frozenset[Need] = frozenset()

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        if told.shifted is None:
            return told.logits.new_zeros(())
        plain = told.logits.detach() if self.by == "answers" else told.shifted
        return _against(plain.softmax(-1), told.shifted)


@dataclass(frozen=True)
class EnsembleError:
    """-log p of the right class by the experts' votes p = sum_k c_k p_k, which teaches the shares c alone."""

    needs: frozenset[Need] = frozenset({"labels", "everyone"})

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        votes = _votes(batch, shares).clamp_min(1e-12)
        return torch.nn.functional.nll_loss(votes.log(), _there(batch.right))


@dataclass(frozen=True)
class Collaboration:
    """KL(p || merge) with the experts' votes p = sum_k c_k p_k: one network that says what all vote.

    In Multi-Level Collaboration in Model Merging, arXiv 2503.01268, the merge of the same shares differs from the
    votes by a term of second order, which this pulls to zero. The votes are what the merge is to come to: no gradient
    reaches the shares through them, else one expert alone would be the easiest collaboration.
    """

    needs: frozenset[Need] = frozenset({"everyone"})

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        votes = _votes(batch, shares).detach()
        return _against(votes, told.logits) + (votes * votes.clamp_min(1e-12).log()).sum(-1).mean()


@dataclass(frozen=True)
class Mixed:
    """A weighted sum of objectives."""

    parts: Mapping[Objective, float]

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset[Need]().union(*(part.needs for part in self.parts))

    def __call__(self, told: Told, batch: Batch, shares: Tensor) -> Tensor:
        return torch.stack([weight * part(told, batch, shares) for part, weight in self.parts.items()]).sum()


def by_head(told: Told, batch: Batch) -> Iterator[tuple[Told, Batch]]:
    """What each head says of all examples, and what is known of them; a single head is all there is."""
    if told.heads is None:
        yield told, batch
        return
    start = 0
    for number, width in enumerate(told.heads):
        part = slice(start, start := start + width)
        expert = None if batch.expert is None else _of_head(batch.expert, part)
        right = None if batch.right is None else batch.right[:, number]
        yield _of_head(told, part), batch._replace(right=right, expert=expert)


def of_examples(told: Told, batch: Batch, rows: Tensor) -> tuple[Told, Batch]:
    """The same of some examples of one head. The inputs are those of all."""
    expert = None if batch.expert is None else _some(batch.expert, rows)
    right = None if batch.right is None else batch.right[rows]
    return _some(told, rows), batch._replace(right=right, expert=expert)


def _of_head(told: Told, part: slice) -> Told:
    shifted = None if told.shifted is None else told.shifted[:, part]
    return Told(told.logits[:, part], None, shifted)  # hidden states are of all heads: no expert has them so


def _some(told: Told, rows: Tensor) -> Told:
    return Told(told.logits[rows], None, None if told.shifted is None else told.shifted[rows])


def _against(target: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of probabilities [N, C] and logits [N, C]."""
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def _votes(batch: Batch, shares: Tensor) -> Tensor:
    """[N, C] probabilities."""
    return torch.einsum("k,knc->nc", shares, _there(batch.everyone).softmax(-1))


def _there(asked: Some | None) -> Some:
    """What `learn` has checked to be there."""
    if asked is None:
        raise ValueError("a batch lacks what the objective needs")
    return asked
