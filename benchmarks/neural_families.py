"""Families that `benchmarks/neural_lineage.py` asks about: those of `lineage_family.py`, and rivals of their roots.

To a scored family belong three generations more that are trained four times as fast for three times as long (`far`), so
that less of what the root computes is left, and rivals: roots of the same architecture and other seeds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ligate.align.axes.graph import symmetries
from ligate.align.maps import Group, applied
from ligate.align.members import random_member
from ligate.bench.suites.digits.networks import Architecture, seed_of
from ligate.bench.weights import read_weights, write_weights
from lineage_family import Tuning, digits_kin, family

State = Mapping[str, Tensor]

FITTED = ("mlp-112-2-1", "mlp-64-3-2", "cnn-40-2-1", "cnn-24-3-2", "vit-40-2-1", "vit-32-2-2")
SCORED = ("mlp-96-2-100", "mlp-64-3-100", "cnn-20-2-100", "cnn-16-3-100", "vit-24-2-100", "mlp-128-2-200")
RIVALS = (300, 301, 302)

FAR: Mapping[str, tuple[str, Tuning]] = {
    "far": ("root", Tuning(5, 4.0, 10)),
    "far1": ("far", Tuning(3, 4.0, 10)),
    "far11": ("far1", Tuning(1, 4.0, 10)),
}
_TUNED, _MERGED = 10, 4  # in a family by lot


class Family(NamedTuple):
    """Args:
    name: of the root: kind, width, depth, seed.
    nets: all networks by name, in float32.
    parents: of each of them; a root has none.
    how: it came to be: root, tuned, low rank, far, or as merges and copies are called.
    """

    name: str
    nets: Mapping[str, State]
    parents: Mapping[str, Sequence[str]]
    how: Mapping[str, str]

    def ancestors(self, name: str) -> set[str]:
        found = set(self.parents[name])
        return found.union(*(self.ancestors(each) for each in found)) if found else found


def architecture(name: str) -> Architecture:
    kind, width, depth, _ = name.split("-")
    return Architecture(kind, int(width), int(depth))  # pyright: ignore[reportArgumentType]


def network(name: str) -> nn.Module:
    return architecture(name).build().eval()


def groups_of(name: str) -> Sequence[Group]:
    return symmetries(network(name), (torch.zeros(2, 8, 8),)).groups


def made(store: Path, name: str) -> Family:
    """From an earlier run, or trained now."""
    folder, seed = store / name, int(name.rpartition("-")[2])
    if not (folder / "answers.json").exists():
        kin = digits_kin(architecture(name), seed)
        nets, truth = family(kin, seed)
        parents, how = ({one: getattr(each, part) for one, each in truth.items()} for part in ("parents", "how"))
        for one, (parent, tuning) in (FAR if name in SCORED else {}).items():
            nets[one] = kin.tune(nets[parent], tuning, seed_of(name.rpartition("-")[0], seed, one))
            parents[one], how[one] = (parent,), "far"
        _write(folder, nets, parents, how)
    return _read(folder, name)


def tree(store: Path, name: str) -> Family:
    """Another family of the same root, who descends from whom by lot: another plan than that of `lineage_family.py`."""
    folder, lot = store / f"{name}.tree", random.Random(name)
    if not (folder / "answers.json").exists():
        kin = digits_kin(architecture(name), int(name.rpartition("-")[2]))
        nets: dict[str, State] = {"root": kin.root}
        parents: dict[str, Sequence[str]] = {"root": ()}
        how = {"root": "root"}
        for number in range(_TUNED + _MERGED):
            one, known = f"{'tm'[number >= _TUNED]}{number}", list(nets)
            if number < _TUNED:
                parent, rank = lot.choice(known), lot.choice((0, 0, 4))
                tuning = Tuning(lot.randrange(1, 7), lot.choice((0.5, 1.0, 2.0)), lot.choice((2, 3, 4)), rank)
                nets[one] = kin.tune(nets[parent], tuning, seed_of(name, one))
                parents[one], how[one] = (parent,), "low rank" if rank else "tuned"
            else:
                pair, share = lot.sample(known[1:], 2), lot.uniform(0.3, 0.7)
                nets[one] = {
                    key: share * value + (1 - share) * nets[pair[1]][key] for key, value in nets[pair[0]].items()
                }
                parents[one], how[one] = tuple(pair), "linear"
        _write(folder, nets, parents, how)
    return _read(folder, name)


def rivals(store: Path, name: str) -> dict[str, State]:
    """Roots of the same architecture that have no children."""
    found: dict[str, State] = {}
    for seed in RIVALS:
        rival = f"{name.rpartition('-')[0]}-{seed}"
        if not (store / rival).exists():
            write_weights(digits_kin(architecture(rival), seed).root, store / rival)
        found[rival] = read_weights(store / rival)
    return found


def reordered(state: State, groups: Sequence[Group], seed: int) -> dict[str, Tensor]:
    """The same function with its units in another order, streams permuted too."""
    draw = torch.Generator().manual_seed(seed)
    return applied(state, [random_member(each, {}, draw) for each in groups if each.kind == "permutation"])


def _write(
    folder: Path, nets: Mapping[str, State], parents: Mapping[str, Sequence[str]], how: Mapping[str, str]
) -> None:
    write_weights({f"{one}/{key}": value for one, each in nets.items() for key, value in each.items()}, folder)
    (folder / "answers.json").write_text(json.dumps({"parents": parents, "how": how}, indent=1), "utf-8")


def _read(folder: Path, name: str) -> Family:
    answers = json.loads((folder / "answers.json").read_text("utf-8"))
    held: dict[str, dict[str, Tensor]] = {one: {} for one in answers["parents"]}
    for key, value in read_weights(folder).items():
        one, _, tensor = key.partition("/")
        held[one][tensor] = value.float()
    return Family(name, held, answers["parents"], answers["how"])
