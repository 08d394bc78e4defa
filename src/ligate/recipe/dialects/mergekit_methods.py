"""mergekit's methods, which have the same names here: their parameters in our words, and the values it uses unasked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ligate.recipe.schema import Value


class Meaning(NamedTuple):
    """A parameter of mergekit in our words.

    `of`: one value for the merge, one for each input (the base is one), or one for each model besides the base.
    `words`: what a switch turned off and on is called here.
    """

    name: str
    of: Literal["merge", "input", "model"]
    switch: bool = False
    words: tuple[str, str] | None = None


@dataclass(frozen=True)
class Rule:
    """A method of mergekit. `fixed` are its defaults, and what it does without being asked, as parameters of ours.

    `base`: whether the models are seen as changes of a base; None: a base is an input as the others are.
    `guards`: small numbers that keep it from dividing by zero and that we do without, with the largest value that
    makes no difference.
    """

    base: Literal["needed", "optional"] | None
    params: Mapping[str, Meaning]
    required: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)
    guards: Mapping[str, float] = field(default_factory=dict)


def _switch(name: str, off: str = "", on: str = "") -> Meaning:
    return Meaning(name, "merge", switch=True, words=(off, on) if on else None)


FLAT, ROW_WISE = "nuslerp_flatten", "nuslerp_row_wise"
"""The two switches that make our `along` between them: see mergekit_along."""

_CHANGES = {
    "weight": Meaning("weight", "model"),
    "normalize": _switch("normalize"),
    "lambda": Meaning("scale", "merge"),
}
_SPARSE = {**_CHANGES, "density": Meaning("density", "model"), "rescale": _switch("rescale", "none", "l1")}
_MIDDLE = {**_SPARSE, "gamma": Meaning("gamma", "model")}
_RANKED = {**_SPARSE, "epsilon": Meaning("epsilon", "model")}


def _thinned(
    params: Mapping[str, Meaning] = _SPARSE, *, normalize: bool = False, rescale: str = "none", **more: Value
) -> Rule:
    """Task vectors of which a part is left out before they are added up."""
    fixed = {"density": 1.0, "scale": 1.0, "normalize": normalize, "rescale": rescale}
    return Rule("needed", params, required="weight", fixed=fixed | more)


RULES: Mapping[str, Rule] = {
    "linear": Rule(
        None,
        {"weight": Meaning("weight", "input"), "normalize": _switch("normalize")},
        required="weight",
        fixed={"normalize": True},
    ),
    "passthrough": Rule(None, {"scale": Meaning("scale", "input")}, fixed={"scale": 1.0}),
    "slerp": Rule(
        "needed",
        {"t": Meaning("t", "merge")},
        required="t",
        fixed={"straight_above": 0.9995, "vectors": "curved", "no_angle": "right"},
    ),
    "nuslerp": Rule(
        "optional",
        {"weight": Meaning("weight", "model"), FLAT: _switch("along"), ROW_WISE: _switch("along")},
        required="weight",
        fixed={"along": "tensor", "no_angle": "right"},
    ),
    "multislerp": Rule(
        "optional",
        {"weight": Meaning("weight", "model"), "normalize_weights": _switch("normalize")},
        required="weight",
        fixed={"normalize": True},
        guards={"eps": 1e-6},
    ),
    "karcher": Rule(
        None,
        {"max_iter": Meaning("max_iter", "merge"), "tol": Meaning("tol", "merge")},
        fixed={"max_iter": 10, "tol": 1e-5, "weight": 1.0},
    ),
    "model_stock": Rule(
        "needed",
        {"filter_wise": _switch("along", "tensor", "rows")},
        fixed={"along": "tensor", "negative_cosine": "extrapolate", "least_product": 1e-6},
    ),
    "nearswap": Rule("needed", {"t": Meaning("near", "merge")}, required="t"),
    "arcee_fusion": Rule("needed", {}, fixed={"fence": 1.5}),
    "sce": Rule("needed", {"select_topk": Meaning("density", "merge")}, fixed={"density": 1.0, "least_energy": 1e-6}),
    "ram": Rule("needed", {"epsilon": Meaning("epsilon", "merge")}, fixed={"epsilon": 1e-5, "scale": 1.0}),
    "ramplus_tl": Rule(
        "needed",
        {
            "r": Meaning("boost", "merge"),
            "alpha": Meaning("cap", "merge"),
            "epsilon": Meaning("epsilon", "merge"),
        },
        fixed={"boost": 0.1, "cap": 0.2, "epsilon": 1e-5, "scale": 1.0},
    ),
    "task_arithmetic": Rule("needed", _CHANGES, required="weight", fixed={"normalize": False, "scale": 1.0}),
    "ties": _thinned(normalize=True, scope="tensor", tie="positive"),
    "dare_linear": _thinned(rescale="l1"),
    "dare_ties": _thinned(rescale="l1", trim=1.0, scope="tensor", tie="positive"),
    "breadcrumbs": _thinned(_MIDDLE, gamma=0.01),
    "breadcrumbs_ties": _thinned(_MIDDLE, gamma=0.01, tie="positive"),
    "della": _thinned(_RANKED, normalize=True, rescale="l1", epsilon=0.15, tie="positive"),
    "della_linear": _thinned(_RANKED, rescale="l1", epsilon=0.15),
}


def method_id(name: str) -> str:
    """What a method of mergekit is called in recipes."""
    return f"merge/{name}"
