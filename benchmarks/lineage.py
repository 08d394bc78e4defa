"""`python benchmarks/lineage.py`: families of small real networks, stripped of all but their weights, are traced.

    python benchmarks/lineage.py                 trained, traced and scored; a quarter of an hour on two cores
    python benchmarks/lineage.py --only digits   without MiniLM
    python benchmarks/lineage.py --fit           the other roots, on which constants may be fitted; never reported

Constants of `ligate.trace` were fitted on the roots of `FITTED`; what is reported comes from `SCORED`, other seeds and
other widths, and MiniLM. Beside it stand plain nearest neighbours, and MoTHer's procedure (arXiv 2405.18432): signed
distances of square matrices, kurtosis, a minimum arborescence, one parent for each model.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ligate.bench.suites.digits.networks import Architecture
from ligate.bench.weights import read_weights
from ligate.verbs.trace import Member, Traced, trace_tree
from lineage_family import Kin, digits_kin, family, minilm_kin, write_answers, write_family

STORE = Path(__file__).parent.parent / "build" / "bench-lineage"
FITTED = ("mlp-112-2-1", "mlp-64-3-2", "cnn-40-2-1", "cnn-24-3-2", "vit-40-2-1", "vit-32-2-2")
SCORED = ("mlp-128-2-21", "mlp-96-3-22", "cnn-32-3-23", "cnn-48-2-24", "vit-48-2-35", "vit-32-3-26")

Answers = Mapping[str, Mapping[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("digits", "minilm"))
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--experts", nargs="*", default=(), type=Path, help="fine-tunes of MiniLM to begin with")
    asked = parser.parse_args()
    roots = FITTED if asked.fit else SCORED if asked.only != "minilm" else ()
    roots = (*roots, *(("minilm",) if asked.only != "digits" and not asked.fit else ()))
    answers = {name: told for root in roots for name, told in made(root, STORE / root, asked.experts).items()}
    for root in roots:
        own = {name: told for name, told in answers.items() if told["family"] == root}
        traced = trace_tree(STORE / root / "models")
        print(f"{root:16s}{line(scores(own, traced))}", flush=True)
        print(f"{'  nearest':16s}{line(neighbours(own, STORE / root / 'models'))}", flush=True)
        print(f"{'  MoTHer':16s}{line(mother(own, STORE / root / 'models'))}", flush=True)


def made(root: str, folder: Path, experts: Sequence[Path] = ()) -> Answers:
    """The family of a root: from an earlier run, or trained now."""
    told = folder / "answers.json"
    if not told.exists():
        shutil.rmtree(folder, ignore_errors=True)
        nets, truth = family(_kin(root, experts), int.from_bytes(root.encode()[-6:], "little"))
        write_answers(_folder(told), write_family(folder / "models", nets, truth, root))
    return json.loads(told.read_text("utf-8"))


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _kin(root: str, experts: Sequence[Path]) -> Kin:
    if root == "minilm":
        return minilm_kin(None, experts)
    kind, width, depth, seed = root.split("-")
    return digits_kin(Architecture(kind, int(width), int(depth)), int(seed))  # pyright: ignore[reportArgumentType]


def scores(answers: Answers, traced: Traced) -> dict[str, tuple[float, float]]:
    """(right, of how many) of each question that is asked of a trace."""
    members = {each.name: each for each in traced.members}
    found = {
        name: frozenset(link.name for link in each.parents if link.role == "parent") for name, each in members.items()
    }
    true = {name: frozenset(told["parents"]) for name, told in answers.items()}
    children = [name for name in answers if true[name]]
    merges = [name for name in children if len(true[name]) > 1]
    edges = [(name, parent) for name in children for parent in true[name]]
    joined = [(name, parent) for name, parent in edges if parent in found[name] or name in found[parent]]
    return {
        "parents": (sum(found[name] == true[name] for name in children), len(children)),
        "edges": (len(joined), len(edges)),
        "direction": (sum(parent in found[name] for name, parent in joined), len(joined)),
        "merge parents": (sum(parent in found[name] for name in merges for parent in true[name]), _count(merges, true)),
        "merges": (sum(found[name] == true[name] for name in merges), len(merges)),
        "false merges": (sum(len(found[name]) > 1 and len(true[name]) < 2 for name in answers), len(answers)),
        "weights": _weights(answers, members),
        "root": (sum(not found[name] for name in answers if not true[name]), sum(not one for one in true.values())),
        "moved": (
            sum(found[name] == true[name] for name in children if "reordered" in answers[name]["how"]),
            sum("reordered" in answers[name]["how"] for name in children),
        ),
        "Brier": _brier(children, true, members),
    }


def _count(names: Sequence[str], true: Mapping[str, frozenset[str]]) -> int:
    return sum(len(true[name]) for name in names)


def _weights(answers: Answers, members: Mapping[str, Member]) -> tuple[float, float]:
    """How many weights of linear merges are within 0.05."""
    right = total = 0
    for name, told in answers.items():
        if told["weights"]:
            known = {link.name: link.weight for link in members[name].parents}
            for parent, weight in zip(told["parents"], told["weights"], strict=True):
                total += 1
                right += abs((known.get(parent) or 9.0) - weight) <= 0.05
    return right, total


def _brier(
    children: Sequence[str], true: Mapping[str, frozenset[str]], members: Mapping[str, Member]
) -> tuple[float, float]:
    """Sum of squared errors of the confidences that were given to parents, over how many."""
    told = [
        (link.confidence, link.name in true[name])
        for name in children
        for link in members[name].parents
        if link.role == "parent"
    ]
    return sum((sure - right) ** 2 for sure, right in told), len(told)


def line(found: Mapping[str, tuple[float, float]]) -> str:
    return "  ".join(f"{name} {right:.4g}/{total:g}" for name, (right, total) in found.items())


def neighbours(answers: Answers, folder: Path) -> dict[str, tuple[float, float]]:
    """The nearest model in the 2-norm of all weights, as the only parent, of all but the true root."""
    names, weights = _vectors(answers, folder)
    apart = _distances(weights)
    parents = {name: names[int(np.argmin(apart[number]))] for number, name in enumerate(names)}
    return _as_tree(answers, parents)


def mother(answers: Answers, folder: Path) -> dict[str, tuple[float, float]]:
    """MoTHer for full fine-tuning on one tree, which it is given: the largest signed difference of square matrices,
    min-max normalised; what gains kurtosis is no child. Kurtosis is that of all square matrices."""
    import networkx as nx

    names = sorted(answers)
    states = {name: read_weights(folder / name) for name in names}
    square = [key for key, value in states[names[0]].items() if value.ndim == 2 and len(set(value.shape)) == 1]
    if not square:  # as in a convolutional network: it has no answer
        return _as_tree(answers, {})
    apart = np.zeros((len(names), len(names)))
    kurtosis = np.array([sum(_kurtosis(states[name][key].double().numpy()) for key in square) for name in names])
    for key in square:
        values = np.stack([states[name][key].double().numpy().ravel() for name in names])
        peak = np.array([[(one - other).max() for other in values] for one in values])
        most = max(float(peak.max()), 1e-30)  # and the least difference is its negative, as each pair is seen both ways
        apart = np.maximum(apart, (peak + most) / (2 * most))
    cost = apart + 0.3 * apart.mean() * (kurtosis[None, :] > kurtosis[:, None])
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(
        (i, j, float(cost[i, j])) for i in range(len(names)) for j in range(len(names)) if i != j
    )
    tree = nx.minimum_spanning_arborescence(graph)
    return _as_tree(answers, {names[j]: names[i] for i, j in tree.edges})


def _kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)


def _vectors(answers: Answers, folder: Path) -> tuple[list[str], np.ndarray]:
    names = sorted(answers)
    states = [read_weights(folder / name) for name in names]
    keys = sorted(states[0])
    return names, np.stack([np.concatenate([each[key].float().numpy().ravel() for key in keys]) for each in states])


def _distances(vectors: np.ndarray) -> np.ndarray:
    apart = np.stack([np.square(vectors - one).sum(1, dtype=np.float64) for one in vectors])
    np.fill_diagonal(apart, np.inf)
    return apart


def _as_tree(answers: Answers, parents: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    true = {name: frozenset(told["parents"]) for name, told in answers.items()}
    children = [name for name in answers if true[name]]
    single = [name for name in children if len(true[name]) == 1]
    return {
        "parents": (sum(true[name] == {parents.get(name, "")} for name in children), len(children)),
        "of one parent": (sum(true[name] == {parents.get(name, "")} for name in single), len(single)),
    }


if __name__ == "__main__":
    main()
