"""Everything the demo measures, in the order in which it is measured. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ligate.bench import encoder as encoders
from ligate.bench.demo import experts, tasks
from ligate.bench.demo.exam import Exam, accuracy, answers, make_exam
from ligate.bench.demo.experts import PRETRAINED, Expert
from ligate.bench.demo.shipped import MERGES, Merge
from ligate.bench.demo.tasks import TASKS, Corpus
from ligate.bench.encoder import Encoder, embed, has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of, engine_digest, folder_digest, remembered
from ligate.bench.merging import Merged, in_memory, on_disk

Group = Literal["before", "experts", "merged"]
_SCORING = ("encoder.py", "demo/exam.py", "demo/tasks.py")


class Row(NamedTuple):
    """One model of the table and which questions of the test split it answered rightly."""

    title: str
    note: str
    group: Group
    right_NT: Tensor
    coefficient: str = ""
    merged: Merged | None = None

    @property
    def scores(self) -> tuple[float, ...]:
        """Accuracy per task."""
        return accuracy(self.right_NT)

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)


class Curve(NamedTuple):
    """Accuracy on the validation split over the coefficient of a method."""

    title: str
    note: str
    coefficient: str
    values: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]  # per value, per task

    @property
    def means(self) -> tuple[float, ...]:
        return tuple(sum(each) / len(each) for each in self.scores)

    @property
    def best(self) -> float:
        """The value with the highest mean; of equals, the smallest."""
        return self.values[self.means.index(max(self.means))]

    @property
    def at_edge(self) -> bool:
        """The best value ends the grid, so a better one may lie outside."""
        return self.best in (self.values[0], self.values[-1])


@dataclass
class Study:
    """Texts, models and exams of one run in one folder; answers are kept there too."""

    workdir: Path
    corpus: Corpus
    encoder: Encoder
    heads: Sequence[Tensor]
    experts: Sequence[Expert]

    @property
    def models(self) -> Path:
        return self.workdir / "models"

    @cached_property
    def validation(self) -> Exam:
        return make_exam(self.corpus.part("validation"), self.encoder, self.heads)

    @cached_property
    def test(self) -> Exam:
        return make_exam(self.corpus.part("test"), self.encoder, self.heads)

    @cached_property
    def states(self) -> dict[str, dict[str, Tensor]]:
        """Weights by label, loaded when first needed."""
        return experts.states(self.models, [PRETRAINED, *(task.name for task in TASKS)])

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: folder_digest(self.models / name) for name in (PRETRAINED, *(task.name for task in TASKS))}

    @cached_property
    def _scoring(self) -> str:
        """Whatever besides weights can change an answer."""
        code = code_digest(_SCORING)
        return digest_of(
            [self.corpus.digest, code, self.digests[PRETRAINED], torch.__version__, str(has_fast_bfloat16())]
        )

    def answered(self, exam: Exam, key: Sequence[str], logits: Callable[[], Sequence[Tensor]]) -> Tensor:
        name = digest_of([self._scoring, "test" if exam is self.test else "validation", *key])
        return remembered(self.workdir / "cache" / "answers", name, lambda: answers(logits()))

    def row_of_folder(self, name: str, group: Group, title: str, note: str = "") -> Row:
        folder = self.models / name
        given = self.answered(self.test, [self.digests[name]], lambda: self._logits(folder))
        return Row(title, note, group, self.test.right(given))

    def references(self) -> list[Row]:
        """The pretrained model, each expert, every task by its own expert, and the experts' votes together."""
        rows = [self.row_of_folder(PRETRAINED, "before", "pretrained", "the network all start from")]
        singles = [self.row_of_folder(task.name, "experts", task.name, "one expert alone") for task in TASKS]
        own = torch.stack([row.right_NT[:, number] for number, row in enumerate(singles)], dim=1)
        key = ["ensemble", *(self.digests[task.name] for task in TASKS)]
        votes = self.answered(self.test, key, self._ensemble)
        ensemble = Row("ensemble", f"mean logits; {len(TASKS)} times the compute", "experts", self.test.right(votes))
        return [*rows, *singles, ensemble, Row("own expert", "each task asks its expert", "experts", own)]

    def curve(self, merge: Merge, tick: Callable[[], None] = lambda: None) -> Curve:
        """Validation accuracy over the grid of a merge; the weights are merged in memory."""
        scores: list[tuple[float, ...]] = []
        for value in merge.grid:
            scores.append(accuracy(self.validation.right(self._swept(merge.text(value)))))
            tick()
        return Curve(merge.title, merge.note, merge.coefficient, merge.grid, tuple(scores))

    def merged(self, merge: Merge, value: float | None) -> Row:
        """Write the recipe with the chosen coefficient, merge by it on disk, load the result and score it."""
        recipe = self.workdir / "recipes" / f"{merge.recipe}.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(merge.text(value), encoding="utf-8")
        out = self.workdir / "merged" / merge.recipe
        done = on_disk(recipe.relative_to(self.workdir), out.relative_to(self.workdir), self.workdir)
        given = self.answered(self.test, ["merged", done.digest], lambda: self._logits(out))
        chosen = "" if value is None else f"{merge.coefficient} {value:g}"
        return Row(merge.title, merge.note, "merged", self.test.right(given), chosen, done)

    def _swept(self, text: str) -> Tensor:
        key = ["swept", text, engine_digest(), *self.digests.values()]
        return self.answered(self.validation, key, lambda: self._logits_in_memory(text))

    def _logits_in_memory(self, text: str) -> Sequence[Tensor]:
        state = in_memory(text, self.states)
        return self.validation.logits(embed(self.encoder, self.validation.tokens, state))

    def _logits(self, folder: Path) -> Sequence[Tensor]:
        return self.test.logits(embed(encoders.load(folder), self.test.tokens))

    def _ensemble(self) -> Sequence[Tensor]:
        each = [self._logits(self.models / task.name) for task in TASKS]
        return [torch.stack(parts).mean(0) for parts in zip(*each, strict=True)]


def corpus_in(workdir: Path) -> tuple[Corpus, bool]:
    """The texts of the installed libraries, and whether an earlier run had collected them."""
    code = code_digest(("demo/data.py", "demo/tasks.py"))
    versions: Mapping[str, str] = tasks.library_versions()
    name = digest_of([code, *(f"{library} {version}" for library, version in sorted(versions.items()))])
    path = workdir / "cache" / f"texts-{name}.json"
    if path.is_file():
        return tasks.read(path), True
    path.parent.mkdir(parents=True, exist_ok=True)
    corpus = tasks.build()
    tasks.save(corpus, path)
    return corpus, False


def swept() -> tuple[Merge, ...]:
    """The merges that have a coefficient to choose."""
    return tuple(merge for merge in MERGES if merge.grid)
