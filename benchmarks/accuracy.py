"""How far a merged checkpoint is from the same merge in float64, rounded once.

    python benchmarks/accuracy.py linear OUT --models A B C --weights 0.5 0.3 0.2
    python benchmarks/accuracy.py ties OUT --base B --models A B C --weights 0.5 0.3 0.2 --density 0.2

The reference is written from the equations, in numpy, tensor by tensor, and shares no code with Ligate. It trims per
tensor, keeps ties at the threshold, elects the sign of the weighted sum (+ where it is zero) and divides by the weights
that agree. A checkpoint written in a wider type than the inputs also shows which entries were kept and which sign won.

With weights like 0.3 and 0.2 many elements lie half-way between two bf16 numbers, and many votes are tied, but for the
error of float64 itself: there its choice is chance and no reference. Such elements are counted as undecided and not
compared. With powers of two as weights there are none, and all are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

OWN_ERROR = 2.0**-50  # of float64, relative to the sum of magnitudes, after a handful of operations

# dtype -> (numpy type of the stored bits, bits of the fraction, exponent of the smallest normal number)
_STORED: Mapping[str, tuple[Any, int, int]] = {
    "BF16": (np.dtype("<u2"), 7, -126),
    "F16": (np.dtype("<f2"), 10, -14),
    "F32": (np.dtype("<f4"), 23, -126),
    "F64": (np.dtype("<f8"), 52, -1022),
}


@dataclass
class Tally:
    """Counts over all elements that were compared."""

    elements: int = 0
    undecided: int = 0  # by float64 itself; counted nowhere below
    differ: int = 0  # after rounding
    beyond_one_ulp: int = 0
    moved_apart: int = 0  # only one of the two left the base: another entry was kept
    sign_apart: int = 0  # the two left the base in different directions

    def add(self, other: Tally) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def share_differing(self) -> float:
        return self.differ / max(1, self.elements)


class Checkpoint:
    """The tensors of a folder of safetensors files, each decoded when asked for."""

    def __init__(self, folder: Path) -> None:
        self._where: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            self._where |= {name: (path, 8 + length, told) for name, told in header.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._where))

    def dtype(self, name: str) -> str:
        return self._where[name][2]["dtype"]

    def __getitem__(self, name: str) -> Numbers:
        path, data, told = self._where[name]
        start, stop = told["data_offsets"]
        stored = np.fromfile(path, np.uint8, stop - start, offset=data + start).view(_STORED[told["dtype"]][0])
        if told["dtype"] == "BF16":  # the upper half of a float32
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float64)


class Reference(NamedTuple):
    """Float64 results, how far each may be off, and where the vote on the sign is open."""

    value: Numbers
    error: Numbers
    open_vote: Mask


def linear(models: Sequence[Numbers], weights: Sequence[float]) -> Reference:
    """Weighted mean."""
    parts = [w * x for w, x in zip(weights, models, strict=True)]
    scale = abs(sum(weights))
    error = slack(weights) * sum(map(np.abs, parts), np.zeros(1)) / scale
    return Reference(sum(parts, np.zeros(1)) / sum(weights), error, np.zeros(error.shape, bool))


def ties(base: Numbers, models: Sequence[Numbers], weights: Sequence[float], density: float) -> Reference:
    """Trim, elect, disjoint weighted mean."""
    parts = [w * trimmed(x - base, density) for w, x in zip(weights, models, strict=True)]
    mass, magnitude = sum(parts, np.zeros(1)), sum(map(np.abs, parts), np.zeros(1))
    elected = np.where(mass >= 0, 1.0, -1.0)
    agree = [np.sign(part) == elected for part in parts]
    total = sum((np.where(yes, part, 0.0) for yes, part in zip(agree, parts, strict=True)), np.zeros(1))
    divisor = sum((np.where(yes, w, 0.0) for yes, w in zip(agree, weights, strict=True)), np.zeros(1))
    value = base + total / np.where(divisor == 0, 1.0, divisor)
    own = slack(weights)
    return Reference(value, own * (np.abs(base) + magnitude), (np.abs(mass) <= own * magnitude) & (own * magnitude > 0))


def slack(weights: Sequence[float]) -> float:
    """Products with powers of two are exact, and so are the sums of a few stored numbers of much fewer bits."""
    exact = all(abs(np.frexp(weight)[0]) == 0.5 for weight in weights)
    return 0.0 if exact and abs(np.frexp(sum(weights))[0]) == 0.5 else OWN_ERROR


def trimmed(delta: Numbers, density: float) -> Numbers:
    """Keep every entry at least as large as the k-th largest, k = density x size rounded down but not below 1."""
    kept = max(1, int(density * delta.size))
    magnitude = np.abs(delta)
    threshold = np.partition(magnitude, delta.size - kept)[delta.size - kept]
    return np.where(magnitude >= threshold, delta, 0.0)


def spacing(x: Numbers, dtype: str) -> Numbers:
    """Distance of neighbouring numbers of a dtype around x."""
    _, fraction, smallest = _STORED[dtype]
    exponent = np.maximum(np.frexp(x)[1] - 1, smallest)
    return np.ldexp(1.0, exponent - fraction)


def rounded(x: Numbers, dtype: str) -> Numbers:
    """Nearest number of a dtype, ties to even, in one step from float64."""
    unit = spacing(x, dtype)
    return np.rint(x / unit) * unit


def compare(result: Numbers, reference: Reference, dtype: str, base: Numbers | None = None) -> Tally:
    """One tensor as it was stored against its reference."""
    low, high = (rounded(reference.value + side * reference.error, dtype) for side in (-1, 1))
    decided = ~((low != high) | reference.open_vote)
    exact = rounded(reference.value, dtype)
    off = np.where(decided, np.abs(result - exact), 0.0)
    step = np.maximum(spacing(exact, dtype), spacing(result, dtype))  # neighbours of a power of two are unequally far
    tally = Tally(result.size, int((~decided).sum()), int((off > 0).sum()), int((off > step).sum()))
    if base is not None:
        ours, theirs = (np.where(reference.open_vote, 0.0, np.sign(x - base)) for x in (result, exact))
        tally.moved_apart = int(((ours == 0) != (theirs == 0)).sum())
        tally.sign_apart = int((ours * theirs < 0).sum())
    return tally


def compare_folders(  # the parameters of the two rules
    rule: str,
    out: Path,
    models: Sequence[Path],
    weights: Sequence[float],
    base: Path | None = None,
    density: float = 1.0,
) -> Tally:
    """All tensors of a result, streamed one by one."""
    result, inputs = Checkpoint(out), [Checkpoint(folder) for folder in models]
    origin = Checkpoint(base) if base else None
    total = Tally()
    for name in result:
        numbers = [source[name] for source in inputs]
        if origin is None or rule == "linear":
            total.add(compare(result[name], linear(numbers, weights), result.dtype(name)))
        else:
            start = origin[name]
            reference = ties(start, numbers, weights, density)
            total.add(compare(result[name], reference, result.dtype(name), start))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rule", choices=("linear", "ties"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=float, nargs="+", required=True)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--density", type=float, default=1.0)
    given = parser.parse_args()
    if given.rule == "ties" and given.base is None:
        parser.error("ties needs --base")
    found = compare_folders(given.rule, given.out, given.models, given.weights, given.base, given.density)
    sys.stdout.write(json.dumps({**asdict(found), "share_differing": found.share_differing}) + "\n")


if __name__ == "__main__":
    main()
