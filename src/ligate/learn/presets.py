"""Published systems of learned merging, each as its three choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .gradient import Adam
from .objectives import Agreement, Collaboration, CrossEntropy, EnsembleError, Entropy, Mixed, Objective
from .parametrisations import Coefficients, Gated, Parametrisation

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Preset:
    """`source` is where the choices come from; `inputs` what its authors learn from."""

    parametrisation: Parametrisation
    objective: Objective
    solver: Adam
    source: str
    inputs: str = "unlabelled"


PRESETS: Mapping[str, Preset] = {
    "adamerging_task": Preset(
        Coefficients("task", 0.3, "clamp"), Entropy(), Adam(500, 1e-3), "AdaMerging, arXiv 2310.02575", "test inputs"
    ),
    "adamerging": Preset(
        Coefficients("tensor", 0.3, "clamp"), Entropy(), Adam(500, 1e-3), "AdaMerging, arXiv 2310.02575", "test inputs"
    ),
    "atlas": Preset(
        Coefficients("tensor", 0.0), CrossEntropy(), Adam(500, 1e-1), "aTLAS, arXiv 2407.02880", "few labels"
    ),
    "expert_merging": Preset(
        Coefficients("tensor", 0.1, "sigmoid"), Agreement(), Adam(500, 0.5), "Expert Merging, arXiv 2509.25712"
    ),
    "neulig": Preset(
        Gated(),
        Mixed({CrossEntropy(): 1.0, EnsembleError(): 1.0, Collaboration(): 1.0}),
        Adam(500, 1e-1),
        "Multi-Level Collaboration in Model Merging, arXiv 2503.01268 (after its description)",
        "few labels",
    ),
}
