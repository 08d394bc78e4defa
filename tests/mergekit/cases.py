"""mergekit configs over three tiny models and their base, each with the numbers that it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import reference
from tiny_llama import LAYERS, Tensors, adapted

Models = Mapping[str, Tensors]
Rule = Callable[[str, float], object]
"""(tensor name, position among the layers) -> the tensor of the result."""


@dataclass(frozen=True)
class Case:
    name: str
    config: str
    expect: Callable[[Models], Tensors]


def layer_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["model", "layers"] else None


def depth(name: str, layers: int = LAYERS) -> float:
    """0 at the first layer, 1 at the last; 0 outside the layers."""
    layer = layer_of(name)
    return 0.0 if layer is None else layer / (layers - 1)


def ramp(t: float, *values: float) -> float:
    """`values` spread over [0, 1], linear between them."""
    low = min(int(t * (len(values) - 1)), len(values) - 2)
    share = t * (len(values) - 1) - low
    return (1 - share) * values[low] + share * values[low + 1]


def everywhere(rule: Callable[[Models, str], object]) -> Callable[[Models], Tensors]:
    """The same rule for all tensors, given by name."""
    return lambda models: {name: rule(models, name) for name in models["base"]}


def of(models: Models, name: str, *labels: str) -> list:
    return [models[label][name] for label in labels]


def vectors(models: Models, name: str, *labels: str) -> tuple:
    return reference.deltas(models["base"][name], of(models, name, *labels))


def case(name: str, config: str, rule: Callable[[Models, str], object]) -> Case:
    return Case(name, dedent(config), everywhere(rule))


def _ties(models: Models, name: str, density: tuple[float, ...], weight: tuple[float, ...], **rest: object) -> object:
    restore = rest.pop("restore", False)
    base, deltas = vectors(models, name, "a", "b", "c")
    trimmed = [reference.trim(delta, share) for delta, share in zip(deltas, density, strict=True)]
    if restore:
        trimmed = [reference.restore_l1(kept, whole) for kept, whole in zip(trimmed, deltas, strict=True)]
    return reference.elected_sum(base, trimmed, weight, **rest)


def _sum(models: Models, name: str, weight: tuple[float, ...], **rest: object) -> object:
    base, deltas = vectors(models, name, "a", "b", "c")
    return reference.weighted_sum(base, deltas, weight, **rest)


THREE = """\
base_model: models/base
models:
  - model: models/a
    parameters: {weight: 0.5}
  - model: models/b
    parameters: {weight: 0.8}
  - model: models/base
  - model: models/c
    parameters: {weight: -0.4}
"""
WEIGHTS = (0.5, 0.8, -0.4)

LINEAR = (
    case(
        "linear, normalised",
        """
        merge_method: linear
        models:
          - {model: models/a, parameters: {weight: 0.3}}
          - {model: models/b, parameters: {weight: 2}}
          - {model: models/c, parameters: {weight: -0.5}}
        """,
        lambda m, n: reference.linear(of(m, n, "a", "b", "c"), (0.3, 2, -0.5)),
    ),
    case(
        "linear, as they are",
        """
        merge_method: linear
        models: [{model: models/a}, {model: models/b}]
        parameters: {weight: 0.7, normalize: false}
        """,
        lambda m, n: reference.linear(of(m, n, "a", "b"), (0.7, 0.7), normalize=False),
    ),
    case(
        "linear, the base is one of the inputs",
        """
        merge_method: linear
        base_model: models/base
        models: [{model: models/a}, {model: models/b, parameters: {weight: 3}}]
        parameters: {weight: 1}
        """,
        lambda m, n: reference.linear(of(m, n, "a", "b", "base"), (1, 3, 1)),
    ),
    case(
        "linear, over the layers",
        """
        merge_method: linear
        models:
          - {model: models/a, parameters: {weight: [1, 0.2, 0.9]}}
          - {model: models/b, parameters: {weight: [0.1, 1]}}
        """,
        lambda m, n: reference.linear(of(m, n, "a", "b"), (ramp(depth(n), 1, 0.2, 0.9), ramp(depth(n), 0.1, 1))),
    ),
    case(
        "linear, by filter, with what no filter of a model speaks of from the top",
        """
        merge_method: linear
        models:
          - model: models/a
            parameters:
              weight:
                - {filter: mlp.up, value: 3}
                - {filter: mlp, value: [0.25, 0.75]}
          - model: models/b
        parameters:
          weight:
            - {filter: layers.1., value: 2}
            - value: 1
        """,
        lambda m, n: reference.linear(of(m, n, "a", "b"), (_filtered(n), 2 if "layers.1." in n else 1)),
    ),
)


def _filtered(name: str) -> float:
    if "mlp.up" in name:
        return 3
    if "mlp" in name:
        return ramp(depth(name), 0.25, 0.75)
    return 2 if "layers.1." in name else 1


SLERP = (
    case(
        "slerp",
        """
        merge_method: slerp
        base_model: models/a
        models: [{model: models/a}, {model: models/b}]
        parameters: {t: 0.35}
        """,
        lambda m, n: reference.slerp(*of(m, n, "a", "b"), 0.35),
    ),
    case(
        "slerp, the base not listed, the other first",
        """
        merge_method: slerp
        base_model: models/b
        models: [{model: models/a}]
        parameters: {t: [0, 1]}
        """,
        lambda m, n: reference.slerp(*of(m, n, "b", "a"), ramp(depth(n), 0, 1)),
    ),
    case(
        "slerp, t by filter over the layers of a slice",
        """
        slices:
          - sources:
              - {model: models/a, layer_range: [0, 4]}
              - {model: models/b, layer_range: [0, 4]}
        merge_method: slerp
        base_model: models/a
        parameters:
          t:
            - filter: self_attn
              value: [0, 0.5, 0.3, 0.7, 1]
            - filter: mlp
              value: [1, 0.5, 0.7, 0.3, 0]
            - value: 0.5
        """,
        lambda m, n: reference.slerp(*of(m, n, "a", "b"), _classic(n)),
    ),
)


def _classic(name: str) -> float:
    if "self_attn" in name:
        return ramp(depth(name), 0, 0.5, 0.3, 0.7, 1)
    return ramp(depth(name), 1, 0.5, 0.7, 0.3, 0) if "mlp" in name else 0.5


TASK_ARITHMETIC = (
    case("task_arithmetic", THREE + "merge_method: task_arithmetic", lambda m, n: _sum(m, n, WEIGHTS)),
    case(
        "task_arithmetic, normalised and scaled",
        THREE + "merge_method: task_arithmetic\nparameters: {normalize: true, lambda: 0.7, density: 0.1}",
        lambda m, n: _sum(m, n, WEIGHTS, normalize=True, scale=0.7),
    ),
    case(
        "task_arithmetic, lambda by filter",
        THREE + "merge_method: task_arithmetic\nparameters: {lambda: [{filter: mlp, value: [0, 1]}, {value: 0.5}]}",
        lambda m, n: _sum(m, n, WEIGHTS, scale=ramp(depth(n), 0, 1) if "mlp" in n else 0.5),
    ),
)
TIES = (
    case("ties", THREE + "merge_method: ties", lambda m, n: _ties(m, n, (1, 1, 1), WEIGHTS, normalize=True)),
    case(
        "ties, trimmed",
        THREE + "merge_method: ties\nparameters: {density: 0.31, int8_mask: true}",
        lambda m, n: _ties(m, n, (0.31,) * 3, WEIGHTS, normalize=True),
    ),
    case(
        "ties, summed and scaled",
        THREE + "merge_method: ties\nparameters: {density: 0.6, normalize: false, lambda: 1.3}",
        lambda m, n: _ties(m, n, (0.6,) * 3, WEIGHTS, normalize=False, scale=1.3),
    ),
    case(
        "ties, L1 norms restored",
        THREE + "merge_method: ties\nparameters: {density: 0.4, rescale: true}",
        lambda m, n: _ties(m, n, (0.4,) * 3, WEIGHTS, normalize=True, restore=True),
    ),
    case(
        "ties, densities of their own, over the layers",
        """
        merge_method: ties
        base_model: models/base
        models:
          - {model: models/a, parameters: {weight: 1, density: [0.9, 0.2]}}
          - {model: models/b, parameters: {weight: [0.1, 1], density: {filter: mlp, value: 0.5}}}
          - {model: models/c, parameters: {weight: 0.4}}
        parameters: {density: 0.7, normalize: [true, false]}
        """,
        lambda m, n: _ties(
            m,
            n,
            (ramp(depth(n), 0.9, 0.2), 0.5 if "mlp" in n else 0.7, 0.7),
            (1, ramp(depth(n), 0.1, 1), 0.4),
            normalize=layer_of(n) != LAYERS - 1,
        ),
    ),
    case(
        "ties, almost nothing kept",
        THREE + "merge_method: ties\nparameters: {density: 0.001}",
        lambda m, n: _ties(m, n, (0.001,) * 3, WEIGHTS, normalize=True),
    ),
)
DARE = (
    case("dare_linear, nothing dropped", THREE + "merge_method: dare_linear", lambda m, n: _sum(m, n, WEIGHTS)),
    case(
        "dare_ties, nothing dropped",
        THREE + "merge_method: dare_ties",
        lambda m, n: _ties(m, n, (1, 1, 1), WEIGHTS, normalize=False),
    ),
    case(
        "dare_ties, normalised",
        THREE + "merge_method: dare_ties\nparameters: {normalize: true, lambda: 0.9}",
        lambda m, n: _ties(m, n, (1, 1, 1), WEIGHTS, normalize=True, scale=0.9),
    ),
)


def stacked(*layers: tuple[str, int, Callable[[str], float]]) -> Callable[[Models], Tensors]:
    """Layers (model, number, factor by source name); the first gives what lies below, the last what lies above."""

    def expect(models: Models) -> Tensors:
        below, above = layers[0], layers[-1]
        found = {"model.embed_tokens.weight": _scaled(models, below, "model.embed_tokens.weight")}
        for number, (label, source, factor) in enumerate(layers):
            for name in models[label]:
                if layer_of(name) == source:
                    found[name.replace(f".{source}.", f".{number}.", 1)] = _scaled(
                        models, (label, source, factor), name
                    )
        return found | {name: _scaled(models, above, name) for name in ("model.norm.weight", "lm_head.weight")}

    return expect


def _scaled(models: Models, layer: tuple[str, int, Callable[[str], float]], name: str) -> object:
    return models[layer[0]][name].astype("float64") * layer[2](name)


def one(name: str) -> float:
    return 1.0


def _silent(name: str) -> float:
    """The filters below: names are those of the source, so `layers.2.` is layer 2 of `b`."""
    return 0.0 if "o_proj" in name or "down_proj" in name else 3.0 if "layers.2." in name else 1.0


PASSTHROUGH = (
    Case("passthrough", "merge_method: passthrough\nmodels: [{model: models/b}]", lambda models: models["b"]),
    Case(
        "passthrough, stacked",
        dedent("""
        merge_method: passthrough
        slices:
          - sources: [{model: models/a, layer_range: [0, 3]}]
          - sources:
              - model: models/b
                layer_range: [1, 4]
                parameters:
                  scale:
                    - {filter: o_proj, value: 0}
                    - {filter: down_proj, value: 0}
                    - {filter: layers.2., value: 3}
                    - value: 1
          - sources: [{model: models/a, layer_range: [3, 4]}]
        """),
        stacked(
            *(("a", layer, one) for layer in (0, 1, 2)),
            *(("b", layer, _silent) for layer in (1, 2, 3)),
            ("a", 3, one),
        ),
    ),
    Case(
        "passthrough, ends from different models, scaled over a slice",
        dedent("""
        merge_method: passthrough
        base_model: models/c
        slices:
          - sources: [{model: models/a, layer_range: [2, 3]}]
          - sources: [{model: models/b, layer_range: [0, 2]}]
            parameters: {scale: [2, 4]}
        parameters: {scale: [0.5, 0.25]}
        """),
        stacked(
            ("a", 2, lambda name: 0.5 if layer_of(name) is None else 0.25),
            ("b", 0, lambda name: 2),
            ("b", 1, lambda name: 2 if layer_of(name) is None else 4),
        ),
    ),
)


def _mixed(models: Models) -> Tensors:
    """Two layers: a[0:2] with b[2:4] by 1 : 3, their ends by 1 : 3 as well."""
    found: Tensors = {}
    for name in models["a"]:
        layer = layer_of(name)
        if layer is None or layer < 2:
            other = name if layer is None else name.replace(f".{layer}.", f".{layer + 2}.", 1)
            weights = (1.0, 3.0) if "mlp" not in name else (5.0, 3.0)
            found[name] = reference.linear([models["a"][name], models["b"][other]], weights)
    return found


def _taken(models: Models) -> Tensors:
    """ties over shifted ranges: the base gives its own layers."""
    found: Tensors = {}
    for name in models["base"]:
        layer = layer_of(name)
        if layer is None or layer < 2:
            inner = name if layer is None else name.replace(f".{layer}.", f".{layer + 1}.", 1)
            base, (delta,) = reference.deltas(models["base"][name], [models["a"][inner]])
            found[name] = reference.elected_sum(base, [reference.trim(delta, 0.5)], (0.8,), normalize=False)
    return found


def _two_bases(models: Models) -> Tensors:
    """Layer 0 and the embedding from a half-way to the base, layer 1 and the head from b on the way from a."""
    found: Tensors = {}
    for name in models["base"]:
        layer = layer_of(name)
        below = layer == 0 or "embed" in name
        if layer is None or layer < 2:
            origin, other, weight = ("base", "a", 0.5) if below else ("a", "b", 0.25)
            found[name] = reference.weighted_sum(
                *reference.deltas(models[origin][name], [models[other][name]]), (weight,)
            )
    return found


SLICES = (
    Case(
        "linear of different layers, source before slice before top",
        dedent("""
        merge_method: linear
        slices:
          - sources:
              - model: models/a
                layer_range: [0, 2]
                parameters: {weight: {filter: mlp, value: 5}}
              - {model: models/b, layer_range: [2, 4], parameters: {weight: 3}}
            parameters: {weight: 1}
        parameters: {weight: 100}
        """),
        _mixed,
    ),
    Case(
        "ties of different layers",
        dedent("""
        merge_method: ties
        base_model: models/base
        slices:
          - sources:
              - {model: models/base, layer_range: [0, 2]}
              - {model: models/a, layer_range: [1, 3], parameters: {weight: 0.8, density: 0.5}}
        parameters: {normalize: false}
        """),
        _taken,
    ),
    Case(
        "slices with bases of their own",
        dedent("""
        merge_method: task_arithmetic
        slices:
          - base_model: models/base
            sources:
              - {model: models/base, layer_range: [0, 1]}
              - {model: models/a, layer_range: [0, 1]}
          - base_model: models/a
            sources:
              - {model: models/b, layer_range: [1, 2], parameters: {weight: 0.25}}
              - {model: models/a, layer_range: [1, 2]}
        parameters: {weight: 0.5}
        """),
        _two_bases,
    ),
    Case(
        "a module that is the whole model",
        dedent("""
        merge_method: linear
        modules:
          default:
            models: [{model: models/a}, {model: models/b}]
            parameters: {weight: {filter: norm, value: 2}}
        parameters: {weight: 1, normalize: false}
        """),
        everywhere(
            lambda m, n: reference.linear(of(m, n, "a", "b"), (2, 2) if "norm" in n else (1, 1), normalize=False)
        ),
    ),
)

SEVERAL = (
    Case(
        "two merges in one file",
        dedent("""
        merge_method: slerp
        base_model: half
        models: [{model: models/c}]
        parameters: {t: 0.25}
        ---
        name: half
        merge_method: linear
        models: [{model: models/a}, {model: models/b}]
        parameters: {weight: 1}
        """),
        everywhere(lambda m, n: reference.slerp(reference.linear(of(m, n, "a", "b"), (1, 1)), m["c"][n], 0.25)),
    ),
)


def _with_adapter(models: Models) -> Tensors:
    full = adapted(models["a"], Path("adapter"))
    return {
        name: reference.weighted_sum(*reference.deltas(base, [full[name], models["a"][name]]), (0.5, 0.5))
        for name, base in models["base"].items()
    }


ADAPTER = (
    Case(
        "an adapter over a model",
        dedent("""
        merge_method: task_arithmetic
        base_model: models/base
        models: [{model: models/a+adapter}, {model: models/a}]
        parameters: {weight: 0.5}
        """),
        _with_adapter,
    ),
)


CASES = (*LINEAR, *SLERP, *TASK_ARITHMETIC, *TIES, *DARE, *PASSTHROUGH, *SLICES, *SEVERAL, *ADAPTER)

DENSITY = 0.6
DROPPED = tuple(
    Case(f"{method}, dropped", THREE + f"merge_method: {method}\nparameters: {{density: {DENSITY}}}", lambda models: {})
    for method in ("dare_linear", "dare_ties", "della", "della_linear")
)
"""Random numbers decide here: nothing is expected of single ones."""
