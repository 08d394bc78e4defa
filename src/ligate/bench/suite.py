"""The words of the bench: what a suite offers, what one network is asked, what is known of a row.

A *suite* is a set of tasks with real data. For one seed it becomes a *world*: networks that were trained (with that
seed) and questions to ask of any network of their shape. Questions come on *papers*: `validation` chooses
coefficients and nothing else, `test` is scored, others show what else a network can or cannot do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Tier = Literal["smoke", "standard", "full"]
TIERS: tuple[Tier, ...] = ("smoke", "standard", "full")
Group = Literal["reference", "merge", "ensemble"]
Use = Literal[
    "nothing", "validation labels", "unlabelled inputs", "test inputs", "training data", "extra storage", "router"
]
How = Literal["logits", "probabilities"]

VALIDATION, TEST, OUTSIDE = "validation", "test", "outside"
PRETRAINED, JOINT = "pretrained", "joint"

State = Mapping[str, "Tensor"]
Values = Mapping[str, "Tensor"]
"""Task -> [N] float64, a number for each of its questions; their mean is the score of the task."""


class Metric(NamedTuple):
    """What the numbers are: shown with `scale` and `unit`; `higher` is better, or not."""

    name: str
    unit: str = "%"
    scale: float = 100.0
    higher: bool = True


ACCURACY = Metric("accuracy")
BITS_PER_BYTE = Metric("bits per byte", "", 1.0, higher=False)


class Task(NamedTuple):
    """`expert` is the label of the network trained for it; None for a task that no network was trained for."""

    name: str
    expert: str | None
    classes: int = 0  # 0: not a classification


class Trained(NamedTuple):
    """A network in a folder of its own."""

    label: str
    folder: Path
    size: int  # training examples
    seconds: float  # of its training, whenever that was


class Paper(NamedTuple):
    """Questions by task, told by where they come from: questions of one source are not independent of each other."""

    sources: Values  # task -> [N] int64; the same number is the same source in every task
    says: str = ""  # one line: what is on it


class World(Protocol):
    """One seed of a suite. Whatever answers depend on besides weights is in `digest`."""

    @property
    def seed(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def tasks(self) -> Sequence[Task]: ...
    @property
    def experts(self) -> Sequence[Trained]: ...
    @property
    def others(self) -> Sequence[Trained]:
        """`pretrained` and `joint`, where the suite has them."""
        ...

    def papers(self) -> Mapping[str, Paper]: ...

    def state(self, label: str) -> State:
        """The weights of an expert or of one of the others."""
        ...

    def loaded(self, folder: Path) -> State:
        """The weights of a model folder of the same shape, such as a merge of the experts."""
        ...

    def ask(self, state: State, paper: str) -> Values: ...

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        """What several networks answer together: the weighted mean of their logits or probabilities."""
        ...


class Request(NamedTuple):
    """What a user asked for. `store` keeps data, networks and answers for later runs; `out` is this run's."""

    suite: str
    tier: Tier
    out: Path
    store: Path
    seeds: Sequence[int]
    budget: int  # coefficients tried per method and seed
    methods: Sequence[str] | None = None  # ids; None: those of the suite
    model: str | None = None  # folder of another pretrained network
    keep: bool = False  # merged models stay


@dataclass(frozen=True)
class Teller:
    """Where a run tells how far it is; silent by default."""

    says: Callable[[str], None] = lambda text: None
    counts: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass(frozen=True)
class Scale:
    """How much of a suite a tier runs."""

    seeds: tuple[int, ...]
    budget: int
    sizes: Mapping[str, int] = field(default_factory=dict)
