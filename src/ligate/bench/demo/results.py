"""What one run of the demo measured, as data for the table, the report and `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ligate.bench.conflict import Conflict
from ligate.bench.demo.exam import Difference, paired
from ligate.bench.demo.experts import Expert
from ligate.bench.demo.proof import Proof
from ligate.bench.demo.study import Curve, Row
from ligate.bench.demo.tasks import TASKS, Corpus

AVERAGE = "average"


@dataclass(frozen=True)
class Results:
    """Rows in the order of the table; `files_N` says which source file each test text is from."""

    corpus: Corpus
    experts: Sequence[Expert]
    rows: Sequence[Row]
    files_N: Tensor
    curves: Sequence[Curve]
    conflicts: Sequence[Conflict]
    proof: Proof
    parameters: int  # of one network
    arithmetic: str
    seconds: float  # of the whole run

    def row(self, title: str) -> Row:
        return next(row for row in self.rows if row.title == title)

    @property
    def merges(self) -> list[Row]:
        return [row for row in self.rows if row.group == "merged"]

    @property
    def best(self) -> Row:
        """The merge with the highest mean on the validation split; the test split has no say in it."""
        return self.row(max(self.curves, key=lambda curve: max(curve.means)).title)

    def ties_with_best(self) -> list[str]:
        """Other merges whose difference to the best one the test split does not resolve."""
        others = (row.title for row in self.merges if row.title != self.best.title)
        return [title for title in others if not self.difference(self.best.title, title).resolved]

    def difference(self, title: str, other: str) -> Difference:
        return paired(self.row(title).right_NT, self.row(other).right_NT, self.files_N)

    @property
    def texts(self) -> Mapping[str, int]:
        return {split: len(self.corpus.part(split)) for split in ("train", "validation", "test")}

    def as_data(self) -> dict[str, Any]:
        """Plain numbers: shares in 0..1, differences in points."""
        titles = [row.title for row in self.merges]
        return {
            "texts": dict(self.texts),
            "versions": dict(self.corpus.versions),
            "arithmetic": self.arithmetic,
            "experts": {each.task: {"texts": each.texts, "seconds": each.seconds} for each in self.experts},
            "models": {row.title: _row(row) for row in self.rows},
            "differences": {
                f"{one} - {other}": self.difference(one, other)._asdict()
                for index, one in enumerate(titles)
                for other in titles[:index]
            },
            "curves": {curve.title: {**curve._asdict(), "chosen": curve.best} for curve in self.curves},
            "conflicts": [conflict._asdict() for conflict in self.conflicts],
            "proof_holds": self.proof.holds,
            "seconds": self.seconds,
        }


def _row(row: Row) -> dict[str, Any]:
    scores = dict(zip((task.name for task in TASKS), row.scores, strict=True))
    cost = row.merged._asdict() if row.merged else {}
    return {**scores, "mean": row.mean, "coefficient": row.coefficient, **cost}
