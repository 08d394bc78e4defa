"""`python benchmarks/neural_lineage.py`: who is the parent, by what networks compute on a few unlabelled digits?

    python benchmarks/neural_lineage.py                the networks are trained, asked and scored
    python benchmarks/neural_lineage.py --fit          the other roots, on which the step and the measure were chosen
    python benchmarks/neural_lineage.py --learned      the detector, trained on the other roots, asked of these

Every answer is kept on disk, so that a run that was stopped goes on. Four questions:

    relatives   every tuned network; candidates are all others of its family that do not descend from it
    trees       as relatives, in families of another plan: who descends from whom, on what, by lot
    roots       every tuned network, of one to three generations; candidates are its root and three of the same shape
    moved       two children with their units in another order, as they are and brought beside each of these roots

A method is right if the true parent (root) has the best score; among t equals it counts 1 / t. Intervals are Student's
over families, each of which counts once.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from ligate.bench.suites.digits.data import digits
from ligate.bench.weights import read_weights, write_weights
from ligate.trace.neural.coordinates import beside
from ligate.trace.neural.detector import Detector, save
from ligate.trace.neural.evidence import Evidence, evidence_of
from ligate.trace.neural.ranking import scored
from ligate.trace.neural.similarity import SIMILARITIES
from ligate.trace.neural.tangent import Net, State, Tangent, features_of, reading, says_of, tangent
from ligate.trace.neural.training import Question, Schedule, trained
from neural_families import FITTED, SCORED, Family, groups_of, made, network, reordered, rivals, tree

STORE = Path(__file__).parent.parent / "build" / "bench-neural"
PROBES = (4, 16, 64)
SEEN = 16  # probes that the detector is shown
MEASURES = ("l2", "cosine", "cka")
STEPS = (0.1, 0.3, 0.5, 1.0)
MOVED = ("a", "b1")
QUESTIONS = ("relatives", "trees", "roots", "moved")

Scores = Mapping[str, float]


class Asked(NamedTuple):
    """`candidates` by name, the true one under `answer`."""

    name: str
    generation: int
    child: State
    candidates: Mapping[str, State]
    answer: str


class Answered(NamedTuple):
    """Of every candidate the score of every method: `plain/cosine/16`, `step1/cosine/16`, `weights` ..."""

    name: str
    generation: int
    answer: str
    scores: Mapping[str, Scores]

    def right(self, method: str) -> float:
        best = max(each[method] for each in self.scores.values())
        first = [name for name, each in self.scores.items() if each[method] == best]
        return (self.answer in first) / len(first)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--learned", action="store_true")
    asked = parser.parse_args()
    if asked.learned:
        learned()
        return
    for question in ("relatives", "trees") if asked.fit else QUESTIONS:
        report(question, dict(answers(FITTED if asked.fit else SCORED, question)))


def answers(families: Sequence[str], question: str) -> Iterator[tuple[str, Sequence[Answered]]]:
    """Of every family, from an earlier run or asked now."""
    for name in families:
        path = STORE / "answers" / f"{name}.{question}.json"
        if not path.exists():
            began = time.process_time()
            family = (tree if question == "trees" else made)(STORE, name)
            found = answered(family, question)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([one._asdict() for one in found]), "utf-8")
            print(f"# {name} {question}: {time.process_time() - began:.0f} s", flush=True)
        yield name, [Answered(**each) for each in json.loads(path.read_text("utf-8"))]


def answered(family: Family, question: str) -> list[Answered]:
    if question == "moved":
        return _moved(family)
    asked = _roots(family) if question == "roots" else _relatives(family)
    kept = STORE / "evidence" / f"{family.name}.{question}"
    found: list[Answered] = []
    shown: dict[str, Tensor] = {}
    for one in asked:
        said, tangents = looked(family.name, one)
        found.append(Answered(one.name, one.generation, one.answer, scores(one, said, tangents)))
        few = [Tangent(each.features[:SEEN], each.change[:SEEN]) for each in tangents.values()]
        given = evidence_of(one.child, one.candidates, said[:SEEN], few)
        shown |= {f"{one.name}/{part}": getattr(given, part).float().contiguous() for part in given._fields[1:]}
    write_weights(shown, kept)
    return found


def _relatives(family: Family) -> Iterator[Asked]:
    for name, how in family.how.items():
        if how in ("tuned", "low rank"):
            others = [each for each in family.nets if each != name and name not in family.ancestors(each)]
            near = {each: family.nets[each] for each in others if family.how[each] != "far"}
            yield Asked(name, 1, family.nets[name], near, family.parents[name][0])


def _roots(family: Family) -> Iterator[Asked]:
    roots = {family.name: family.nets["root"], **rivals(STORE, family.name)}
    for name, how in family.how.items():
        if how in ("tuned", "low rank", "far") and not family.ancestors(name) & {"linear", "ties", "locked"}:
            yield Asked(name, len(family.ancestors(name)), family.nets[name], roots, family.name)


def _moved(family: Family) -> list[Answered]:
    """Scores of both: `weights` and `beside/weights`."""
    groups, found = groups_of(family.name), list[Answered]()
    roots = {family.name: family.nets["root"], **rivals(STORE, family.name)}
    for number, name in enumerate(MOVED):
        child = reordered(family.nets[name], groups, number)
        asked = Asked(name, len(family.ancestors(name)), child, roots, family.name)
        said, tangents = looked(family.name, asked)
        told = {each: dict(one) for each, one in scores(asked, said, tangents).items()}
        for each, state in roots.items():
            back = Asked(name, 0, beside(child, state, groups), {each: state}, each)
            own = scores(back, *looked(family.name, back))[each]
            told[each] |= {f"beside/{method}": score for method, score in own.items()}
        found.append(Answered(name, asked.generation, asked.answer, told))
    return found


def looked(name: str, asked: Asked) -> tuple[Tensor, dict[str, Tangent]]:
    """What the child says of the most probes, and the tangent of every candidate."""
    says = says_of(network(name), reading(digits()["validation"].images[: max(PROBES)]))
    tangents = {each: tangent(Net(says, state), asked.child) for each, state in asked.candidates.items()}
    return features_of(Net(says, asked.child)), tangents


def scores(asked: Asked, said: Tensor, tangents: Mapping[str, Tangent]) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for name, at in tangents.items():
        apart = sum(float((asked.child[key] - one).square().sum()) for key, one in asked.candidates[name].items())
        told = {"weights": -apart}
        for probes in PROBES:
            few, own = Tangent(at.features[:probes], at.change[:probes]), said[:probes]
            for measure in MEASURES:
                sim = SIMILARITIES[measure]
                told[f"plain/{measure}/{probes}"] = scored(sim, few, own, "none", 0)
                told |= {f"step{a:g}/{measure}/{probes}": scored(sim, few, own, "features", a) for a in STEPS}
                told[f"taylor0.1/{measure}/{probes}"] = scored(sim, few, own, "similarity", 0.1)
        found[name] = told
    return found


# What is told


def report(question: str, found: Mapping[str, Sequence[Answered]]) -> None:
    everything = [each for answers in found.values() for each in answers]
    chance = sum(1 / len(each.scores) for each in everything) / len(everything)
    print(f"\n{question}: {len(everything)} children of {len(found)} roots, chance {100 * chance:.0f} %")
    groups: dict[str, Callable[[Answered], bool]] = {"all": lambda each: True}
    if question == "roots":
        for generation in (1, 2, 3):
            groups[f"near {generation}"] = _of(generation, far=False)
            groups[f"far {generation}"] = _of(generation, far=True)
    for name, chosen in groups.items():
        part = {family: [each for each in answers if chosen(each)] for family, answers in found.items()}
        methods = list(next(iter(everything[0].scores.values())))
        print(f"  {name}: weights {_percent(part, 'weights')}" + (
            f", beside {_percent(part, 'beside/weights')}" if question == "moved" else ""))  # fmt: skip
        for prefix in ("", "beside/") if question == "moved" else ("",):
            for measure in MEASURES:
                for probes in PROBES:
                    _row(part, methods, f"{prefix}{{}}/{measure}/{probes}")


def _of(generation: int, *, far: bool) -> Callable[[Answered], bool]:
    return lambda each: each.generation == generation and each.name.startswith("far") == far


def _row(found: Mapping[str, Sequence[Answered]], methods: Sequence[str], form: str) -> None:
    kinds = [kind for kind in ("plain", *(f"step{a:g}" for a in STEPS), "taylor0.1") if form.format(kind) in methods]
    cells = "  ".join(f"{kind} {_percent(found, form.format(kind))}" for kind in kinds)
    gain = told(difference(found, form.format("step1"), form.format("plain")))
    print(f"    {form.format('*'):22s}{cells}  step1 - plain {gain}", flush=True)


def _percent(found: Mapping[str, Sequence[Answered]], method: str) -> str:
    return f"{100 * mean([each.right(method) for answers in found.values() for each in answers]):.0f}"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def difference(found: Mapping[str, Sequence[Answered]], one: str, other: str) -> tuple[float, float, float]:
    return interval([mean([each.right(one) - each.right(other) for each in answers]) for answers in found.values()])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of Student's 95 % interval."""
    middle, count = mean(values), len(values)
    spread = math.sqrt(sum((each - middle) ** 2 for each in values) / (count - 1) / count)
    half = float(stdtrit(count - 1, 0.975)) * spread
    return middle, middle - half, middle + half


def told(found: tuple[float, float, float]) -> str:
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * each for each in found))


# The learned detector


def learned() -> None:
    """Trained on all fitted families, saved, and asked of the scored ones."""
    taught = [each for question in ("relatives", "trees") for each in shown(FITTED, question)]
    detector = trained(
        [each for _, each in taught],
        Schedule(epochs=10),
        watch=lambda epoch, loss: print(f"# epoch {epoch}: {loss:.3f}", flush=True),
    )
    notes = {"families": len(FITTED), "questions": len(taught), "probes": SEEN}
    save(detector, STORE / "detector", notes)
    for question in ("relatives", "trees", "roots"):
        _compare(question, detector)


def _compare(question: str, detector: Detector) -> None:
    """Beside the detector stand weights alone: all numbers, the mean over tensors, the largest change of a tensor."""
    known = dict(answers(SCORED, question))
    right: dict[str, dict[str, list[float]]] = {
        name: {family: [] for family in known} for name in ("learned", "tensors", "largest")
    }
    for family, each in shown(SCORED, question):
        with torch.no_grad():
            likely = {"learned": detector(each.given)}
        likely |= {name: -each.given.weight_facts[..., place].mean(1) for name, place in _FACTS.items()}
        for name, values in likely.items():
            right[name][family].append(float(int(values.argmax()) == each.answer))
    print(f"\n{question}: learned {100 * mean([one for each in right['learned'].values() for one in each]):.0f} %")
    for method in ("weights", *(f"{kind}/{measure}/{SEEN}" for measure in MEASURES for kind in ("plain", "step1"))):
        right[method] = {family: [each.right(method) for each in known[family]] for family in known}
    for method, own in right.items():
        gains = [mean(right["learned"][family]) - mean(own[family]) for family in known]
        whole = 100 * mean([one for each in own.values() for one in each])
        print(f"  {method:18s}{whole:.0f}  learned - it {told(interval(gains))}", flush=True)


_FACTS = {"tensors": 0, "largest": 9}  # log of the root mean square, of the largest number of a difference


def shown(families: Sequence[str], question: str) -> Iterator[tuple[str, Question]]:
    """What the detector is shown of the children of every family."""
    for family, each in answers(families, question):
        tensors = read_weights(STORE / "evidence" / f"{family}.{question}")
        for one in each:
            names = tuple(one.scores)
            given = Evidence(names, *(tensors[f"{one.name}/{part}"] for part in Evidence._fields[1:]))
            yield family, Question(given, names.index(one.answer))


if __name__ == "__main__":
    main()
