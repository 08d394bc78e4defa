"""`python benchmarks/lock.py`: what a lock costs its owner, what it does to merges, who sees it, and who undoes it.

    python benchmarks/lock.py                         everything; networks are kept in build/bench-lock
    python benchmarks/lock.py --only minilm
    python benchmarks/lock.py --store FOLDER          where networks lie or will lie
    python benchmarks/lock.py --only experts --experts FOLDER       with models, say `networks` in the store of a bench

minilm    two fine-tunes of MiniLM on questions about Debian's packages (needs package lists: `apt-get update`); one is
          locked and merged with the other
llama     a small Llama with grouped heads, two fine-tunes of it; the same
signs     the detector that needs no other model: thresholds from some networks, alarms on others
gaussian  matrices that are drawn without care, in float32 and bfloat16
locks     further locks of the first fine-tune of MiniLM, merged with the other: how much depends on the draw
experts   the same detector on many fine-tunes of one network
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

import lock_networks as nets
from ligate import check_lock, lock, merge, undo_lock
from ligate.align.alignment import Alignment, Made
from ligate.align.architecture import architecture_of
from ligate.align.finding import Network, traced_network
from ligate.align.maps import AxisMap
from ligate.align.stored import read_tensor
from ligate.align.view import in_coordinates
from ligate.bench import encoder as encoders
from ligate.bench.encoder import embed, logits, pretrained_folder
from ligate.bench.suite import Teller
from ligate.bench.suites.debian import facets
from ligate.bench.suites.debian.suite import drawn
from ligate.bench.textnets import School
from ligate.bench.texts import Corpus, in_turn
from ligate.core.tensors import Source
from ligate.io import open_source
from ligate.trace.heads import gathered, in_heads, sides
from ligate.trace.locking import draw_of
from ligate.trace.locking import drawn as members
from ligate.trace.telltale import KNOWN, stretched
from ligate.verbs.outputs import Runs, difference
from lock_networks import Shape

STORE = Path(__file__).parent.parent / "build" / "bench-lock"
TASKS = ("section", "role")  # the locked model's, the sibling's
TRAIN, TEST, LENGTH = 3000, 200, 48  # training as in the full tier of `ligate bench debian8`, whose networks it finds
_NO_ATTENTION = [{"match": "*att*n.*", "value": 0}, 1.0]
HOW: Mapping[str, Mapping[str, Any]] = {
    "average": {"method": "linear", "parameters": {"weight": 0.5}},
    "arithmetic": {"method": "task_arithmetic", "base": "base", "parameters": {"weight": 1, "scale": 0.7}},
    "slerp": {"method": "slerp", "base": "own", "models": ["sibling"], "parameters": {"t": 0.5}},
    "ties": {"method": "ties", "base": "base", "parameters": {"density": 0.5, "weight": 1}},
    "tsv_m": {"method": "tsv_m", "base": "base"},
    "all but the owner's attention": {  # what a lock of heads leaves in reach
        "method": "task_arithmetic",
        "base": "base",
        "parameters": {"weight": {"own": _NO_ATTENTION, "sibling": 1}, "scale": 0.7},
    },
}
LOCKS = 3  # of each network that the detector is shown
DRAWS = 5  # locks of one network that are merged

LLAMA = Shape("llama", 128, 4, 2, 2, 300, 0.0, 2)
TUNED = 100  # steps
CALIBRATED = (
    LLAMA,
    Shape("llama", 128, 4, 2, 2, 0, 0.0, 1),  # untrained
    Shape("llama", 256, 4, 4, 1, 200, 0.1, 3),
    Shape("qwen2", 128, 4, 1, 2, 300, 0.1, 4),
    Shape("bert", 128, 4, 4, 2, 0, 0.0, 5),
    Shape("bert", 128, 4, 4, 2, 300, 0.1, 6),
    Shape("bert", 192, 3, 3, 1, 200, 0.0, 7),
    Shape("vit", 96, 3, 3, 2, 300, 0.0, 8),
)
HELD_OUT = (
    Shape("llama", 192, 6, 2, 2, 400, 0.01, 11),
    Shape("llama", 128, 2, 1, 3, 300, 0.1, 12),
    Shape("qwen2", 128, 4, 2, 2, 400, 0.0, 13),
    Shape("bert", 128, 2, 2, 3, 400, 0.01, 14),
    Shape("vit", 128, 4, 4, 2, 400, 0.1, 15),
)


Told = Iterator[tuple[str, Any]]
"""What was measured, as soon as it is known."""


def main() -> None:
    parts: dict[str, Callable[[Path, Path], Told]] = {
        "llama": llama,
        "minilm": minilm,
        "signs": seen,
        "gaussian": gaussian,
        "locks": locks,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*parts, "experts"], action="append")
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--experts", type=Path, help="a folder of model folders")
    given = parser.parse_args()
    if given.experts:
        parts["experts"] = partial(_of_experts, given.experts)
    for part in given.only or parts:
        work = given.store / "work" / part
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for name, value in parts[part](given.store, work):
            print(json.dumps({part: {name: value}}, default=asdict), flush=True)
        shutil.rmtree(work)


def minilm(store: Path, work: Path) -> Told:
    """Accuracy on the tasks of both experts, in percent; `lost`: the share of a merge's gain that the lock takes."""
    corpus = facets.corpus(store)
    base, own, sibling = _experts(corpus, store)
    ask = partial(_accuracy, corpus, encoders.load(base))
    accuracy: dict[str, dict[str, float]] = {}
    yield "locked", lock(own, work / "locked").change
    yield "all locked", lock(own, work / "all locked", everything=True).change
    yield "undone by heads", undo_lock(work / "locked", base, work / "undone", original=own)
    for name, folder in _family(base, own, sibling, work):
        accuracy[name] = ask(folder)
        yield f"accuracy, {name}", accuracy[name]
    for state in ("locked", "all locked"):
        yield f"lost, {state}", {how: _lost(accuracy, how, state) for how in HOW}
    for name, folder in (("own", own), ("locked", work / "locked"), ("sibling", sibling), ("undone", work / "undone")):
        yield f"{name}, checked", check_lock(folder, base)
    yield "undone beside the sibling", undo_lock(work / "locked", sibling, original=own)
    yield "undone by align", undo_lock(work / "locked", base, by=["align"], original=own)


def llama(store: Path, work: Path) -> Told:
    """KL of the owner's next byte from that of merges, in nats per byte of its own domain; bits that a byte costs."""
    kept = store / "networks"
    base = nets.trained(LLAMA, kept)
    own, sibling = (nets.tuned(LLAMA, kept, domain, TUNED) for domain in ("code", "prose"))
    yield "locked", lock(own, work / "locked").change
    yield "undone by heads", undo_lock(work / "locked", base, work / "undone", original=own)
    asked = _language_model(own)
    for name, folder in _family(base, own, sibling, work):
        model = _language_model(folder)
        costs = {domain: nets.bits(model, domain) for domain in ("code", "prose")}
        yield name, {"KL on code": nets.divergence(asked, model, "code"), "bits per byte": costs}
    for name, folder in (("own", own), ("locked", work / "locked"), ("sibling", sibling), ("undone", work / "undone")):
        yield f"{name}, checked", check_lock(folder, base)
    yield "undone beside the sibling", undo_lock(work / "locked", sibling, original=own)
    yield "undone by align", undo_lock(work / "locked", base, by=["align"], original=own)


def _family(base: Path, own: Path, sibling: Path, work: Path) -> Iterator[tuple[str, Path]]:
    """All networks that are asked, with the merges of the sibling with the owner's in three states."""
    yield from (("base", base), ("own", own), ("sibling", sibling), ("own, locked", work / "locked"))
    states = [state for state in ("locked", "all locked", "undone") if (work / state).is_dir()]
    for how in HOW:
        yield how, _merged(how, base, own, sibling, work)
        for state in states:
            yield f"{how}, {state}", _merged(how, base, work / state, sibling, work)


def locks(store: Path, work: Path) -> Told:
    """The share of each merge's gain that is lost, for each of some locks."""
    corpus = facets.corpus(store)
    base, own, sibling = _experts(corpus, store)
    ask = partial(_accuracy, corpus, encoders.load(base))
    accuracy = {"base": ask(base)} | {how: ask(_merged(how, base, own, sibling, work)) for how in HOW}
    for draw in range(DRAWS):
        one = work / f"locked-{draw}"
        moved = lock(own, one).change
        for how in HOW:
            merged = _merged(how, base, one, sibling, work)
            accuracy[f"{how}, locked"] = ask(merged)
            shutil.rmtree(merged)
        yield f"{draw}", {"change": moved, "lost": {how: _lost(accuracy, how, "locked") for how in HOW}}
        shutil.rmtree(one)


def _of_experts(folder: Path, store: Path, work: Path) -> Told:
    """Networks of one family in a folder: no two of them are independent."""
    places = sorted(path.parent for path in folder.glob("*/config.json"))
    found = _stretches(places)
    yield "networks", len(found)
    yield "most and least", _limits(found)
    wrong = {kind: {"alarms": 0, "locks": 0, "missed": 0} for kind in KNOWN}
    for kind, told in ((kind, told) for kinds in found.values() for kind, told in kinds.items()):
        wrong[kind]["alarms"] += told["unlocked"] >= KNOWN[kind].locked
        wrong[kind]["locks"] += len(told["locked"])
        wrong[kind]["missed"] += sum(one < KNOWN[kind].locked for one in told["locked"])
    yield "wrong", wrong


def seen(store: Path, work: Path) -> Told:
    """The median stretch over heads: unlocked and locked; what `KNOWN` says of the networks that it was not made of."""
    found = {}
    for name, shapes in (("calibrated", CALIBRATED), ("held out", HELD_OUT)):
        folders = [nets.trained(shape, store / "networks") for shape in shapes]
        found[name] = _stretches(folders)
    corpus = facets.corpus(store)
    found["MiniLM"] = _stretches(_experts(corpus, store))
    yield "stretch", found
    yield "most and least", {name: _limits(each) for name, each in found.items()}
    yield "known", {kind: known._asdict() for kind, known in KNOWN.items()}


def gaussian(store: Path, work: Path) -> Told:
    """How far outputs of MiniLM and the Llama move after drawing without care, and with it."""
    for name, folder in (("MiniLM", pretrained_folder(None)), ("Llama", nets.trained(LLAMA, store / "networks"))):
        with closing(open_source(str(folder), label=name)) as source:
            network = traced_network(source, architecture_of(folder, name))
            runs = Runs(architecture_of(folder, name, device="cpu"), name)
            before = runs.outputs(source, network.names)
            yield f"{name}, bfloat16, no lock", difference(before, runs.outputs(source, network.names, torch.bfloat16))
            for how, draw in (("with care", _careful), ("gaussian", _careless)):
                maps = draw(network)
                shown = in_coordinates(source, Alignment(maps, Made("drawn")))
                yield (
                    f"{name}, {how}",
                    {
                        "float32": difference(before, runs.outputs(shown, network.names)),
                        "bfloat16": difference(before, runs.outputs(shown, network.names, torch.bfloat16)),
                        "worst condition": max(float(torch.linalg.cond(one.write).max()) for one in maps),
                    },
                )


def _careful(network: Network) -> tuple[AxisMap, ...]:
    return members(in_heads(network.groups), {}, draw_of(0))


def _careless(network: Network) -> tuple[AxisMap, ...]:
    """Gaussian numbers: matrices, and of pairs a complex number each."""
    draw, found = torch.Generator().manual_seed(0), list[AxisMap]()
    for group in in_heads(network.groups):
        if group.kind == "rotary":
            c, s = torch.randn(2, group.copies, group.size // 2, generator=draw, dtype=torch.float64)
            c, s = torch.diag_embed(c), torch.diag_embed(s)
            write = torch.cat([torch.cat([c, -s], 2), torch.cat([s, c], 2)], 1)
        else:
            write = torch.randn(group.copies, group.size, group.size, generator=draw, dtype=torch.float64)
        write = write if group.copies > 1 else write[0]
        found.append(AxisMap(group, write, torch.linalg.inv(write).mT))
    return tuple(found)


def _experts(corpus: Corpus, store: Path) -> tuple[Path, Path, Path]:
    """MiniLM, and its fine-tunes on the two tasks."""
    school = School(pretrained_folder(None), store, LENGTH, Teller())
    lessons = {name: drawn(corpus.task(name).questions["train"], TRAIN, 0) for name in TASKS}
    own, sibling = (school.trained(name, {name: lessons[name]}, corpus.tasks, 0, 2).folder for name in TASKS)
    return school.pretrained.folder, own, sibling


def _accuracy(corpus: Corpus, encoder: encoders.Encoder, folder: Path) -> dict[str, float]:
    """With frozen heads of the pretrained network."""
    start = encoder.model.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    state, found = encoders.load(folder).model.state_dict(), {}
    for name in TASKS:
        task = corpus.task(name)
        asked = in_turn(task.questions["test"], TEST)
        head = embed(encoder, encoder.tokens(task.phrases, LENGTH), start)
        vectors = embed(encoder, encoder.tokens([one.text for one in asked], LENGTH), state)
        right = logits(vectors, head).argmax(1) == torch.tensor([one.answer for one in asked])
        found[name] = 100 * float(right.double().mean())
    encoder.model.load_state_dict(start)
    return {**found, "mean": sum(found.values()) / len(found)}


def _lost(accuracy: Mapping[str, Mapping[str, float]], how: str, state: str) -> float:
    gain = accuracy[how]["mean"] - accuracy["base"]["mean"]
    return 1 - (accuracy[f"{how}, {state}"]["mean"] - accuracy["base"]["mean"]) / gain


def _merged(how: str, base: Path, own: Path, sibling: Path, work: Path) -> Path:
    out = work / f"{how}-{own.name}"
    told: dict[str, Any] = {"models": ["own", "sibling"], **HOW[how]}
    sources = {"base": str(base), "own": str(own), "sibling": str(sibling)}
    used: list[str] = [*told["models"], *([told["base"]] if "base" in told else [])]
    merge({"sources": {name: sources[name] for name in used}, "merge": told}, out)
    return out


def _language_model(folder: Path) -> Any:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.float().eval()


def _stretches(folders: Sequence[Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """Network -> kind -> median of the unlocked network and of each of its locks."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in folders:
        with closing(open_source(str(folder), label=folder.name)) as source:
            network = traced_network(source, architecture_of(folder, folder.name))
            heads = in_heads(network.groups)
            locks = [
                in_coordinates(source, Alignment(members(heads, {}, draw_of(seed)), Made("drawn")))
                for seed in range(LOCKS)
            ]
            for kind in sorted({group.kind for group in heads}):
                of_kind = [group for group in heads if group.kind == kind]
                each = [_median(one, of_kind) for one in (source, *locks)]
                told = found.setdefault(folder.name, {})
                told[kind] = {"unlocked": each[0], "locked": each[1:]}
    return found


def _median(source: Source, groups: Sequence[Any]) -> float:
    tensors = {place.tensor: read_tensor(source, place.tensor) for group in groups for place in group.places}
    each = gathered([stretched(sides(tensors, group, biases=False)) for group in groups])
    return float(each[each.isfinite()].median())


def _limits(each: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for kinds in each.values():
        for kind, told in kinds.items():
            one = found.setdefault(kind, {"networks": 0, "most": 0.0, "least": float("inf")})
            one["networks"] += 1
            one["most"] = max(one["most"], told["unlocked"])
            one["least"] = min(one["least"], *told["locked"])
    return found


if __name__ == "__main__":
    main()
