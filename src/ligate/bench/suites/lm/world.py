"""A world of small language models: how many bits per byte they need for texts of each domain.

A question is a window of a document. With r the bits of all windows of a task per their bytes, the value of a question
is r + (its bits - r * its bytes) / mean bytes: the mean is exactly r, and the spread is that of a ratio, to which the
mere length of a window adds nothing. Differences between networks keep both properties.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ligate.bench.encoder import has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of
from ligate.bench.shelf import Shelf
from ligate.bench.statistics import means
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION, How, Paper, State, Task, Trained, Values
from ligate.bench.suites.lm.network import FILLER, end_of, logits, set_weights, token_bytes
from ligate.bench.suites.lm.texts import Document
from ligate.bench.weights import read_weights
from ligate.core.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SCORING = ("encoder.py", "suites/lm/network.py", "suites/lm/world.py")
_BATCH = 32
_FEWEST = 16  # tokens of a window: less says little
_PER_DOCUMENT = 3  # windows
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "documents that no network was trained on",
    OUTSIDE: "documents of a domain that no expert was trained for",
}


class Windows(NamedTuple):
    """Pieces of documents, a question each."""

    tokens: Tensor  # [N, W] int64, short pieces filled up with FILLER
    sizes: Tensor  # [N] float64, bytes
    sources: Tensor  # [N] int64

    @property
    def bytes_per_token(self) -> float:
        return float(self.sizes.sum()) / int((self.tokens != FILLER).sum())


@dataclass
class LmWorld:
    """A `World` of causal language models of one shape. A tied head is the embedding, and is no tensor of its own."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    network: torch.nn.Module
    tokenizer: Tokenizer
    windows: Mapping[str, Mapping[str, Windows]]  # paper -> task -> windows
    facts: Mapping[str, str]

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [code_digest(_SCORING), torch.__version__, str(has_fast_bfloat16()), str(self.network.config)]
        parts += [self.tokenizer.to_str()]
        for paper, each in self.windows.items():
            parts += [f"{paper} {task} {[part.tolist() for part in one]}" for task, one in each.items()]
        return digest_of(parts)

    def papers(self) -> Mapping[str, Paper]:
        return {
            name: Paper({task: each.sources for task, each in windows.items()}, _SAYS[name])
            for name, windows in self.windows.items()
        }

    def state(self, label: str) -> State:
        return self._shelf[label]

    def loaded(self, folder: Path) -> State:
        return read_weights(folder)

    def ask(self, state: State, paper: str) -> Values:
        return self._values([self._with(state)], [1.0], "logits", paper)

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        return self._values([self._with(self.state(label)) for label in labels], weights, how, paper)

    def perplexity(self, values: Values, paper: str) -> dict[str, float]:
        """Per token of this world's tokenizer, which bits per byte do not depend on."""
        return {task: 2 ** (score * self.windows[paper][task].bytes_per_token) for task, score in means(values).items()}

    def _with(self, state: State) -> torch.nn.Module:
        network = copy.deepcopy(self.network)
        set_weights(network, state)
        return network

    def _values(self, networks: Sequence[torch.nn.Module], weights: Sequence[float], how: How, paper: str) -> Values:
        end = end_of(self.tokenizer)
        found: dict[str, Tensor] = {}
        for task, windows in self.windows[paper].items():
            parts = [bits(networks, weights, how, part, end) for part in windows.tokens.split(_BATCH)]
            needed = torch.cat(parts)
            if not needed.isfinite().all():
                raise NonFiniteError(
                    "the network answers with NaN or infinity",
                    where=f"paper {paper}, task {task}",
                    hint="its weights are broken or far too large: look at the merge that made it.",
                )
            found[task] = per_byte(needed, windows.sizes)
        return found

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf((*self.others, *self.experts), self.loaded)


def bits(networks: Sequence[torch.nn.Module], weights: Sequence[float], how: How, windows: Tensor, end: int) -> Tensor:
    """[B] float64: what each window costs under the mixture of the networks; its logits are the most that is held."""
    asked = windows != FILLER
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    with torch.no_grad():
        if how == "probabilities":
            each = torch.stack([_told(logits(network, windows, end), windows) for network in networks])
            told = (each + shares.log()[:, None, None]).logsumexp(0)
        else:
            mixed = sum(float(share) * logits(one, windows, end) for share, one in zip(shares, networks, strict=True))
            told = _told(torch.as_tensor(mixed), windows)
    return -torch.where(asked, told, 0.0).sum(1) / math.log(2)


def per_byte(bits: Tensor, sizes: Tensor) -> Tensor:
    """[N] values whose mean is the bits of all windows per their bytes.

    >>> per_byte(torch.tensor([30.0, 10.0]), torch.tensor([10.0, 10.0])).tolist()
    [3.0, 1.0]
    """
    ratio = bits.sum() / sizes.sum()
    return ratio + (bits - ratio * sizes) / sizes.mean()


def cut(
    documents: Iterable[Document], tokenizer: Tokenizer, window: int, count: int, numbers: Mapping[str, int]
) -> Windows:
    """At most `count` windows of documents in their order, few of each and evenly from all of it."""
    rows: list[Tensor] = []
    sources: list[int] = []
    for one in documents:
        ids = tokenizer.encode(one.text).ids
        pieces = [ids[start : start + window] for start in range(0, len(ids), window)]
        pieces = [piece for piece in pieces if len(piece) >= _FEWEST]
        for piece in pieces[:: math.ceil(len(pieces) / _PER_DOCUMENT) or 1]:
            rows.append(torch.tensor(piece + [FILLER] * (window - len(piece))))
            sources.append(numbers[one.source])
        if len(rows) >= count:
            break
    if not rows:
        raise InputError("no document of a domain is long enough to be asked about", where="bench lm")
    tokens = torch.stack(rows[:count])
    sizes = token_bytes(tokenizer)[tokens.clamp(min=0)].masked_fill(tokens == FILLER, 0).sum(1)
    return Windows(tokens, sizes.double(), torch.tensor(sources[:count]))


def _told(logits: Tensor, windows: Tensor) -> Tensor:
    """[B, W] float64 log-probability of each token; FILLER reads as token 0 and is not counted."""
    flat = logits.flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(flat, windows.clamp(min=0).flatten(), reduction="none")
    return -loss.view_as(windows).double()
