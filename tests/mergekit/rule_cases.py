"""Single tensors merged by each of mergekit's rules, as parameters of a config.

Both tools see three changes of one base, in float64; a rule for two models sees two of them, a rule for one the first.
A list has one value per model; anything else stands at the top of the config. `inputs` needs nothing but arithmetic on
arrays or tensors, so both tools' interpreters can run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SHAPE = (4, 15)
STRETCH = (2, 0.5, 3)  # the changes differ in length


class RuleCase(NamedTuple):
    name: str
    method: str
    params: Mapping[str, Any]
    models: int = 3
    base: bool = True
    size: float = 1.0  # of the changes
    origin: float = 1.0  # size of the base
    mirrored: bool = False  # the second change is the opposite of the first


def inputs(case: RuleCase, base: Any, changes: Any) -> tuple[Any, Any]:
    """The base and the models of a case; where the changes have no size, only the first has none."""
    changes = changes[: case.models] + 0.0
    if case.mirrored:
        changes[1] = -changes[0]
    if case.size:
        changes = changes * case.size
    else:
        changes[0] = 0.0
    base = base * case.origin
    return base, base + changes


WEIGHTS = [0.5, 1.5, -0.4]
WEIGHTED = {"weight": WEIGHTS}
SPARSE = {"weight": WEIGHTS, "density": [0.6, 0.3, 1.0]}
OUTER = {"gamma": [0.05, 0.1, 0.2]}
RANKED = {**SPARSE, "epsilon": [0.2, 0.15, 0.1]}
EQUAL = {"weight": 1.0, "density": 0.5}
TWO = {"weight": [1, 3]}

CASES: Sequence[RuleCase] = (
    RuleCase("linear", "linear", WEIGHTED, base=False),
    RuleCase("linear, as they are", "linear", {**WEIGHTED, "normalize": False}, base=False),
    RuleCase("passthrough", "passthrough", {"scale": [0.7]}, models=1, base=False),
    RuleCase("slerp", "slerp", {"t": 0.3}, models=1),
    RuleCase("slerp from nothing", "slerp", {"t": 0.3}, models=1, origin=0.0),
    RuleCase("nuslerp", "nuslerp", TWO, models=2, base=False),
    RuleCase("nuslerp of changes", "nuslerp", TWO, models=2),
    RuleCase("nuslerp, not flattened", "nuslerp", {**TWO, "nuslerp_flatten": False}, models=2),
    RuleCase("nuslerp, row-wise", "nuslerp", {**TWO, "nuslerp_flatten": False, "nuslerp_row_wise": True}, models=2),
    RuleCase("nuslerp, row-wise but flattened", "nuslerp", {**TWO, "nuslerp_row_wise": True}, models=2),
    RuleCase("nuslerp of a change of nothing", "nuslerp", TWO, models=2, size=0.0),
    RuleCase("karcher", "karcher", {}, base=False),
    RuleCase("karcher of unlike models", "karcher", {}, base=False, size=50.0),
    RuleCase("karcher, one round", "karcher", {"max_iter": 1}, base=False),
    RuleCase("karcher, soon content", "karcher", {"tol": 0.02}, base=False),
    RuleCase("multislerp", "multislerp", WEIGHTED, base=False),
    RuleCase("multislerp of changes", "multislerp", WEIGHTED),
    RuleCase("multislerp, weights as they are", "multislerp", {**WEIGHTED, "normalize_weights": False}),
    RuleCase("model_stock", "model_stock", {}),
    RuleCase("model_stock by filter", "model_stock", {"filter_wise": True}),
    RuleCase("model_stock of short changes", "model_stock", {}, size=1e-3),
    RuleCase("model_stock of opposite changes", "model_stock", {}, mirrored=True),
    RuleCase("nearswap", "nearswap", {"t": 0.01}, models=1),
    RuleCase("arcee_fusion", "arcee_fusion", {}, models=1),
    RuleCase("sce", "sce", {}),
    RuleCase("sce, selected", "sce", {"select_topk": 0.3}),
    RuleCase("sce of short changes", "sce", {"select_topk": 0.3}, size=1e-3),
    RuleCase("sce just below its guard", "sce", {}, size=0.0187),
    RuleCase("ram", "ram", {"epsilon": 0.01}),
    RuleCase("ram of short changes", "ram", {}, size=1e-3),
    RuleCase("ramplus_tl", "ramplus_tl", {"epsilon": 0.01}),
    RuleCase("ramplus_tl, raised", "ramplus_tl", {"epsilon": 0.015, "r": 0.5, "alpha": 3}),
    RuleCase("ramplus_tl of short changes", "ramplus_tl", {}, size=1e-3),
    RuleCase("task_arithmetic", "task_arithmetic", WEIGHTED),
    RuleCase("task_arithmetic, normalised", "task_arithmetic", {**WEIGHTED, "normalize": True, "lambda": 0.5}),
    RuleCase("ties", "ties", SPARSE),
    RuleCase("ties, rescaled", "ties", {**SPARSE, "normalize": False, "rescale": True, "lambda": 0.5}),
    RuleCase("ties, a draw", "ties", EQUAL, models=2, origin=0.0, mirrored=True),
    RuleCase("dare_linear", "dare_linear", SPARSE),
    RuleCase("dare_linear, not rescaled", "dare_linear", {**SPARSE, "rescale": False, "normalize": True}),
    RuleCase("dare_ties", "dare_ties", SPARSE),
    RuleCase("dare_ties, not rescaled", "dare_ties", {**SPARSE, "rescale": False, "normalize": True, "lambda": 0.5}),
    RuleCase("dare_ties, a draw", "dare_ties", {**EQUAL, "rescale": False}, models=2, origin=0.0, mirrored=True),
    RuleCase("breadcrumbs", "breadcrumbs", {**SPARSE, **OUTER}),
    RuleCase("breadcrumbs, default gamma", "breadcrumbs", {"weight": 1.0, "density": 0.33}),
    RuleCase(
        "breadcrumbs, rescaled",
        "breadcrumbs",
        {**SPARSE, **OUTER, "rescale": True, "normalize": True, "lambda": 0.5},
    ),
    RuleCase("breadcrumbs_ties", "breadcrumbs_ties", {**SPARSE, **OUTER}),
    RuleCase("breadcrumbs_ties, rescaled", "breadcrumbs_ties", {**SPARSE, **OUTER, "rescale": True, "normalize": True}),
    RuleCase("breadcrumbs_ties, a draw", "breadcrumbs_ties", EQUAL, models=2, origin=0.0, mirrored=True),
    RuleCase("della", "della", RANKED),
    RuleCase("della, a draw", "della", {**EQUAL, "rescale": False}, models=2, origin=0.0, mirrored=True),
    RuleCase("della_linear, default epsilon", "della_linear", {**EQUAL, "rescale": False}),
    RuleCase("della, not rescaled", "della", {**RANKED, "rescale": False, "normalize": False}),
    RuleCase("della_linear", "della_linear", RANKED),
    RuleCase("della_linear, normalised", "della_linear", {**RANKED, "normalize": True, "lambda": 0.5}),
)
