"""Single tensors merged by mergekit's rules and by ours: what is called how, and with which values.

`theirs` are mergekit's parameters, `ours` those that mean the same here. Both tools see three changes of one base, in
float64; a rule for two models sees the first two, a rule for one the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SHAPE = (4, 15)
STRETCH = (2, 0.5, 3)  # the changes differ in length


class RuleCase(NamedTuple):
    name: str
    method: str
    theirs: Mapping[str, Any]
    ours: Mapping[str, Any]
    models: int = 3
    base: bool = True
    shrink: float = 1.0  # of the changes


WEIGHTS = [0.5, 1.5, -0.4]
SPARSE = {"weight": WEIGHTS, "density": [0.6, 0.3, 1.0]}
OUTER = {"gamma": [0.05, 0.1, 0.2]}
DROP = {"weight": WEIGHTS, "density": [0.6, 0.3, 1.0], "epsilon": [0.2, 0.15, 0.1]}
MEANS = {"scale": 1.0}

CASES: Sequence[RuleCase] = (
    RuleCase("nuslerp", "nuslerp", {"weight": [1, 3]}, {"weight": (1, 3)}, models=2, base=False),
    RuleCase("nuslerp of changes", "nuslerp", {"weight": [1, 3]}, {"weight": (1, 3)}, models=2),
    RuleCase(
        "nuslerp, not flattened",
        "nuslerp",
        {"weight": [1, 3], "nuslerp_flatten": False},
        {"weight": (1, 3), "along": "rows"},
        models=2,
    ),
    RuleCase(
        "nuslerp, row-wise",
        "nuslerp",
        {"weight": [1, 3], "nuslerp_flatten": False, "nuslerp_row_wise": True},
        {"weight": (1, 3), "along": "columns"},
        models=2,
    ),
    RuleCase(
        "nuslerp of a change of nothing",
        "nuslerp",
        {"weight": [1, 3]},
        {"weight": (1, 3), "no_angle": "right"},
        models=2,
        shrink=0.0,
    ),
    RuleCase("karcher", "karcher", {}, {"max_iter": 10, "tol": 1e-5}, base=False),
    RuleCase("karcher, one round", "karcher", {"max_iter": 1}, {"max_iter": 1, "tol": 1e-5}, base=False),
    RuleCase("multislerp", "multislerp", {"weight": WEIGHTS}, {"weight": WEIGHTS}, base=False),
    RuleCase("multislerp of changes", "multislerp", {"weight": WEIGHTS}, {"weight": WEIGHTS}),
    RuleCase(
        "multislerp, weights as they are",
        "multislerp",
        {"weight": WEIGHTS, "normalize_weights": False},
        {"weight": WEIGHTS, "normalize": False},
    ),
    RuleCase("model_stock", "model_stock", {}, {"negative_cosine": "extrapolate", "least_product": 1e-6}),
    RuleCase(
        "model_stock by filter",
        "model_stock",
        {"filter_wise": True},
        {"negative_cosine": "extrapolate", "least_product": 1e-6, "along": "rows"},
    ),
    RuleCase(
        "model_stock of short changes",
        "model_stock",
        {},
        {"negative_cosine": "extrapolate", "least_product": 1e-6},
        shrink=1e-3,
    ),
    RuleCase("nearswap", "nearswap", {"t": 0.01}, {"near": 0.01}, models=1),
    RuleCase("arcee_fusion", "arcee_fusion", {}, {}, models=1),
    RuleCase("sce", "sce", {}, {"density": 1.0, "least_energy": 1e-6}),
    RuleCase("sce, selected", "sce", {"select_topk": 0.3}, {"density": 0.3, "least_energy": 1e-6}),
    RuleCase("sce of short changes", "sce", {"select_topk": 0.3}, {"density": 0.3, "least_energy": 1e-6}, shrink=1e-3),
    RuleCase("breadcrumbs", "breadcrumbs", {**SPARSE, **OUTER}, {**SPARSE, **OUTER, **MEANS}),
    RuleCase("breadcrumbs, default gamma", "breadcrumbs", {"weight": 1.0, "density": 0.33}, {"density": 0.33, **MEANS}),
    RuleCase(
        "breadcrumbs, rescaled",
        "breadcrumbs",
        {**SPARSE, **OUTER, "rescale": True, "normalize": True, "lambda": 0.5},
        {**SPARSE, **OUTER, "rescale": "l1", "normalize": True, "scale": 0.5},
    ),
    RuleCase("breadcrumbs_ties", "breadcrumbs_ties", {**SPARSE, **OUTER}, {**SPARSE, **OUTER}),
    RuleCase(
        "breadcrumbs_ties, rescaled",
        "breadcrumbs_ties",
        {**SPARSE, **OUTER, "rescale": True, "normalize": True},
        {**SPARSE, **OUTER, "rescale": "l1", "normalize": True},
    ),
    RuleCase("della", "della", DROP, {**DROP, **MEANS, "rescale": "l1"}),
    RuleCase(
        "della, not rescaled",
        "della",
        {**DROP, "rescale": False, "normalize": False},
        {**DROP, **MEANS, "rescale": "none", "normalize": False},
    ),
    RuleCase("della_linear", "della_linear", DROP, {**DROP, "rescale": "l1"}),
)
