"""Networks of the text suites: fine-tuned once for a key of everything that decides them, and kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench import encoder as encoders
from ligate.bench.encoder import Encoder, embed, has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of, folder_digest, settle, stamp
from ligate.bench.suite import PRETRAINED, Teller, Trained
from ligate.bench.texts import Question, TextTask
from ligate.bench.train import Lesson, fine_tune

_CODE = ("encoder.py", "textnets.py", "train.py")


@dataclass
class School:
    """Where encoders are trained from one pretrained folder. `length` is the tokens after which a text is cut."""

    source: Path
    store: Path
    length: int
    tell: Teller

    @cached_property
    def encoder(self) -> Encoder:
        return encoders.load(self.source)

    @cached_property
    def pretrained(self) -> Trained:
        """The network all start from, saved by the same code as its children: the same files but for the numbers."""
        key = digest_of([code_digest(_CODE), self._origin])
        return self._kept(PRETRAINED, key, 0, lambda: self.encoder.model.load_state_dict(self._start))

    def heads(self, tasks: Sequence[TextTask]) -> dict[str, Tensor]:
        return {task.name: self._embedded(task.phrases) for task in tasks}

    def trained(self, label: str, lessons: Mapping[str, Sequence[Question]], tasks: Sequence[TextTask],
                seed: int, epochs: int) -> Trained:  # fmt: skip
        """A network that learned all lessons, by task, from the pretrained one."""
        heads = self.heads([task for task in tasks if task.name in lessons])
        parts = [code_digest(_CODE), self._origin, str(self.length), str(seed), str(epochs), torch.__version__]
        parts += [str(has_fast_bfloat16()), *(f"{name} {asked}" for name, asked in lessons.items())]
        parts += [f"{task.name} {task.phrases}" for task in tasks if task.name in lessons]

        def learn() -> None:
            self.encoder.model.load_state_dict(self._start)
            fine_tune(
                self.encoder,
                [one for name, asked in lessons.items() for one in self._lessons(name, asked)],
                heads,
                seed=seed,
                epochs=epochs,
                progress=lambda done, total: self.tell.counts(f"seed {seed}: training {label}", done, total),
            )

        return self._kept(label, digest_of(parts), sum(map(len, lessons.values())), learn)

    @cached_property
    def _origin(self) -> str:
        return folder_digest(self.source)

    @cached_property
    def _start(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in encoders.load(self.source).model.state_dict().items()}

    def _embedded(self, phrases: Sequence[str]) -> Tensor:
        return embed(self.encoder, self.encoder.tokens(phrases, self.length), self._start)

    def _lessons(self, name: str, asked: Sequence[Question]) -> list[Lesson]:
        tokens = self.encoder.tokens([one.text for one in asked], self.length)
        return [Lesson(each, name, one.answer) for each, one in zip(tokens, asked, strict=True)]

    def _kept(self, label: str, key: str, size: int, learn: Callable[[], object]) -> Trained:
        folder = self.store / "networks" / key
        if stamp(folder, key) is None:
            began = time.perf_counter()
            learn()
            settle(folder, key, {"label": label, "size": size, "seconds": time.perf_counter() - began}, self._save)
        told = stamp(folder, key) or {}
        return Trained(label, folder, size, float(told["seconds"]))

    def _save(self, folder: Path) -> None:
        self.encoder.save(folder)
        card = self.source / "README.md"
        if card.is_file():
            shutil.copyfile(card, folder / card.name)  # names the licence, which holds for what is made from it
