"""The demo's merges: shipped recipes and the coefficients that are chosen for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Merge:
    """A shipped recipe and the coefficient that is chosen on the validation split; `grid` is empty for none."""

    title: str
    recipe: str  # file name without its ending
    note: str = ""
    coefficient: str = ""
    grid: tuple[float, ...] = ()

    def text(self, value: float | None = None) -> str:
        """The recipe, with the coefficient set to a value."""
        text = shipped(self.recipe)
        if value is None:
            return text
        changed, count = re.subn(rf"(?m)^(\s+{self.coefficient}: )[\d.]+", rf"\g<1>{value:g}", text)
        if count != 1:
            raise ValueError(f"{self.recipe}.yaml sets `{self.coefficient}` {count} times")
        return changed


MERGES = (
    Merge("average", "average"),
    Merge("task arithmetic", "task_arithmetic", "", "scale", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)),
    Merge("TIES", "ties", "", "scale", (0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.4, 3.0)),
    Merge("DARE", "dare", "", "scale", (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3)),
    Merge("SLERP", "slerp", "library + topic", "t", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
)


def shipped(name: str) -> str:
    """The text of a recipe that is part of the package."""
    return files("ligate.bench.demo").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
