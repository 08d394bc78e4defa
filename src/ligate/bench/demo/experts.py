"""The fine-tuned models of the demo, as real model folders that are trained once.

Each folder is complete before it gets its name, and says in `trained.json` what it was trained from: texts, code,
starting weights, seed. A killed run goes on with the expert it was at; a change of any of these trains anew.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench import encoder as encoders
from ligate.bench.demo.tasks import TASKS, Corpus, Example, drawn
from ligate.bench.encoder import Encoder, embed
from ligate.bench.kept import code_digest, digest_of, folder_digest, settle, stamp
from ligate.bench.train import Lesson, fine_tune

EXAMPLES = 1200  # per expert
PRETRAINED = "pretrained"
_CODE = ("encoder.py", "demo/tasks.py", "train.py")

Progress = Callable[[str, int, int], None]  # (task, texts done, texts in all)


@dataclass(frozen=True)
class Expert:
    """A model folder made by fine-tuning on one task."""

    task: str
    folder: Path
    texts: int
    seconds: float  # of its training, whenever that was
    found: bool  # trained by an earlier run


def prepare(
    source: Path, corpus: Corpus, models: Path, *, seed: int, examples: int = EXAMPLES, progress: Progress
) -> tuple[Encoder, list[Tensor], list[Expert]]:
    """Train what is not there yet; the pretrained encoder, the frozen heads and the experts in the order of TASKS."""
    origin = folder_digest(source)
    encoder = encoders.load(source)
    heads = [embed(encoder, encoder.tokens(task.phrases)) for task in TASKS]
    _settle(models / PRETRAINED, origin, 0, 0.0, encoder, source)
    code = code_digest(_CODE)
    key = digest_of([corpus.digest, code, origin, str(seed), str(examples), torch.__version__])
    start = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    experts: list[Expert] = []
    for number, task in enumerate(TASKS):
        folder = models / task.name
        known = stamp(folder, key)
        if known is None:
            encoder.model.load_state_dict(start)
            chosen = drawn(corpus.part("train"), number, examples, seed)
            began = time.perf_counter()
            fine_tune(
                encoder,
                _lessons(encoder, chosen, number),
                {task.name: heads[number]},
                seed=seed,
                progress=lambda done, total, name=task.name: progress(name, done, total),
            )
            _settle(folder, key, len(chosen), time.perf_counter() - began, encoder, source)
        told = stamp(folder, key) or {}
        experts.append(Expert(task.name, folder, int(told["texts"]), float(told["seconds"]), known is not None))
    encoder.model.load_state_dict(start)
    return encoder, heads, experts


def _lessons(encoder: Encoder, chosen: Sequence[Example], number: int) -> list[Lesson]:
    tokens = encoder.tokens([example.text for example in chosen])
    name = TASKS[number].name
    return [Lesson(one, name, example.answers[number]) for one, example in zip(tokens, chosen, strict=True)]


def states(models: Path, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The weights of the saved models by name."""
    return {name: encoders.load(models / name).model.state_dict() for name in names}


def _settle(folder: Path, key: str, texts: int, seconds: float, encoder: Encoder, source: Path) -> None:
    """Save a model folder, whole or not at all, unless it is there."""

    def save(partial: Path) -> None:
        encoder.save(partial)
        card = source / "README.md"
        if card.is_file():
            shutil.copyfile(card, partial / card.name)  # names the licence, which holds for what is made from it

    if stamp(folder, key) is None:
        settle(folder, key, {"texts": texts, "seconds": seconds}, save)
