"""What a training run changed: which tensors two checkpoints share, and their differences block by block."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, LigateError, NonFiniteError, RecipeError, raise_all, spoken_index
from ligate.core.tensors import MERGEABLE, Source
from ligate.io.adapter_layout import EMBEDDING_WORDS, Kind, kind_of, matrix_of, module_of
from ligate.io.low_rank import read_numbers
from ligate.recipe.architecture import TIED
from ligate.recipe.findings import Findings, Tell, counted, listed

from .values import stored_blocks

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

BLOCK = 1 << 21  # elements of a block: 16 MiB in float64


@dataclass(frozen=True)
class Pair:
    """Tensors that both checkpoints hold, by what can be made of them."""

    low: Mapping[str, Kind]  # weights that a low-rank change fits
    rest: tuple[str, ...]  # all other floating-point tensors
    fixed: tuple[str, ...]  # what is no floating-point number
    tied: bool  # the embedding, stored once, is the output layer too

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset((*self.low, *self.rest, *self.fixed))


def pair(
    tuned: Source, base: Source, config: Mapping[str, Any], include: Sequence[str], exclude: Sequence[str]
) -> Pair:
    """The common tensors that are asked for.

    Raises:
        InputError, RecipeError, Problems: tensors are missing or of another shape; a pattern matches nothing.
    """
    ours, theirs = tuned.headers(), base.headers()
    doubles = _doubles(theirs, config) | _doubles(ours, config)
    everything = [name for name in dict.fromkeys((*theirs, *ours)) if name not in doubles]
    chosen = _chosen(everything, include, exclude)
    raise_all(_problems(chosen, tuned, base))
    model_type = str(config.get("model_type") or "")
    floating = [name for name in chosen if {ours[name].dtype, theirs[name].dtype} <= MERGEABLE]
    kinds: dict[str, Kind | None] = {name: kind_of(name, theirs[name].shape, model_type) for name in floating}
    low: dict[str, Kind] = {name: kind for name, kind in kinds.items() if kind is not None}
    return Pair(
        low,
        tuple(name for name, kind in kinds.items() if kind is None),
        tuple(name for name in chosen if name not in kinds),
        _is_tied(theirs, config),
    )


def _doubles(names: Collection[str], config: Mapping[str, Any]) -> set[str]:
    """Where a model ties tensors and stores them several times, all but one of them."""
    if not config.get("tie_word_embeddings"):
        return set()
    found: set[str] = set()
    for group in TIED:
        held = sorted((name for name in names if name in group), key=lambda name: (not _looks_up(name), len(name)))
        found.update(held[1:])
    return found


def _is_tied(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """As the config says; where it is silent, a model that writes text and stores no output layer ties it."""
    said = config.get("tie_word_embeddings")
    if isinstance(said, bool):
        return said
    writes = architecture_of(config).endswith(("ForCausalLM", "LMHeadModel", "Generation"))
    return writes and not any(module_of(name).endswith(("lm_head", "embed_out")) for name in names)


def architecture_of(config: Mapping[str, Any]) -> str:
    """The class that a config names first."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _looks_up(name: str) -> bool:
    return module_of(name).rpartition(".")[2] in EMBEDDING_WORDS


def matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    refuse_idle(names, include, "--include")
    refuse_idle(names, exclude, "--exclude")
    return [name for name in names if (not include or matches(name, include)) and not matches(name, exclude)]


def refuse_idle(names: Sequence[str], globs: Sequence[str], option: str) -> None:
    """A pattern that matches nothing is a mistake."""
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            hint = f"the first name is {names[0]!r}; `*` stands for anything." if names else ""
            raise RecipeError(f"no tensor has a name like {glob!r}", where=option, hint=hint)


def _problems(names: Sequence[str], tuned: Source, base: Source) -> Sequence[LigateError]:
    found = Findings()
    for name in names:
        one, other = tuned.headers().get(name), base.headers().get(name)
        if one is None or other is None:
            lacking, holding = (tuned, base) if one is None else (base, tuned)
            found.repeated(("missing", one is None), name, _missing(lacking.label, holding.label))
        elif one.shape != other.shape:
            text = f"{list(one.shape)} in {tuned.label}, {list(other.shape)} in {base.label}"
            found.repeated(("shape", one.shape, other.shape), name, _reshaped(text))
    return found.errors()


def _missing(lacking: str, holding: str) -> Tell:
    hint = "are they the same architecture? `--exclude` leaves tensors out."
    return lambda names: InputError(f"{lacking} lacks {counted(names)} of {holding}: {listed(names)}", hint=hint)


def _reshaped(text: str) -> Tell:
    hint = "a resized tensor is no low-rank change: leave it out with `--exclude`."
    return lambda names: InputError(f"{counted(names)} differ in shape ({text}): {listed(names)}", hint=hint)


def refuse_changed(names: Sequence[str], tuned: Source, base: Source) -> None:
    """Buffers and quantised weights have no difference that could be stored."""
    for name in names:
        one, other = tuned.headers()[name], base.headers()[name]
        pairs = zip(stored_blocks(tuned, name), stored_blocks(base, name), strict=True)
        if one.dtype != other.dtype or not all(a.equal(b) for a, b in pairs):
            text = f"{tuned.label} and {base.label} differ in it, and it holds no floating-point numbers"
            raise InputError(text, where=f"tensor {name}", hint="leave it out with `--exclude`.")


class Change:
    """The difference of one tensor as a lying matrix [side, length] in float64 blocks of its columns.

    A matrix with more rows than columns is read anew in each round; a wide one, whose columns cannot be read by
    themselves, is kept: in float32 where both checkpoints are 16-bit, else in float64.
    """

    def __init__(self, name: str, tuned: Source, base: Source) -> None:
        self.name = name
        self._sources = (tuned, base)
        header = base.headers()[name]
        self.rows, self.columns = matrix_of(header.shape)
        self._shape = header.shape
        self._held: Tensor | None = None

    @property
    def over(self) -> bool:
        """Whether the lying matrix is the transposed one."""
        return self.rows > self.columns

    @property
    def shape(self) -> tuple[int, int]:
        return (self.columns, self.rows) if self.over else (self.rows, self.columns)

    def blocks(self) -> Iterator[Tensor]:
        """A round through the columns."""
        if self.over:
            for first, stop in self._strips():
                yield self._difference(first, stop).T
            return
        whole = self._whole()
        step = max(1, BLOCK // self.rows)
        for first in range(0, self.columns, step):
            yield whole[:, first : first + step].double()

    def held_bytes(self) -> int:
        """Memory of what is kept, and of a few blocks."""
        kept = 0 if self.over else self.rows * self.columns * (4 if self._narrow() else 8)
        return kept + 8 * 6 * min(BLOCK, self.rows * self.columns)

    def energy(self) -> float:
        """The sum of the squared differences."""
        return math.fsum(float(self._difference(*strip).square().sum()) for strip in self._strips())

    def _strips(self) -> Iterator[tuple[int, int]]:
        step = max(1, BLOCK // max(self.columns, 1))
        return ((first, min(first + step, self.rows)) for first in range(0, self.rows, step))

    def _whole(self) -> Tensor:
        import torch

        if self._held is not None:
            return self._held
        held = torch.empty(self.rows, self.columns, dtype=torch.float32 if self._narrow() else torch.float64)
        for first, stop in self._strips():
            held[first:stop] = self._difference(first, stop)
        self._held = held
        return held

    def _narrow(self) -> bool:
        return all(source.headers()[self.name].dtype in ("F16", "BF16") for source in self._sources)

    def _difference(self, first: int, stop: int) -> Tensor:
        import torch

        one, other = (self._numbers(source, first, stop) for source in self._sources)
        return torch.from_numpy(one).double() - torch.from_numpy(other).double()

    def _numbers(self, source: Source, first: int, stop: int) -> np.ndarray:
        import numpy as np

        start = first * self.columns
        found = read_numbers(source, self.name, start, stop * self.columns)
        finite = np.isfinite(found)
        if not finite.all():
            place = spoken_index(start + int(np.argmin(finite)), self._shape)
            hint = "repair the checkpoint, or leave the tensor out with `--exclude`."
            raise NonFiniteError(f"element {place} is {found[~finite][0]}", hint=hint).inside(
                file=source.place(self.name), tensor=self.name, model=source.label
            )
        return found.reshape(stop - first, self.columns)
