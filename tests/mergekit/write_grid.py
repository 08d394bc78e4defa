"""Run by mergekit's own interpreter: `python write_grid.py` draws configs and writes grid.jsonl with what 0.1.5 makes
of them and of the examples. The same configs each time; only a change here changes them.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples import EXAMPLES
from grid import FILE, GridCase, fingerprint, write_models
from run_mergekit import run
from tiny_llama import LAYERS, read_model

EACH = 8  # configs of every method
FILTERS = ("self_attn", "mlp", "layernorm", "lm_head", "embed")
LAYERED = FILTERS[:3]

WEIGHTS = (0.37, 1.13, -0.29, 0.61, 2.05)  # no few of them sum to zero
SHARES = (0.0, 0.35, 0.6, 1.0)
ALL_OR_NOTHING = (0.0, 1.0)
SWITCH = (True, False)


@dataclass(frozen=True)
class Param:
    """`own`: each model may have its own value. `spread`: values between those listed are fine. `plain`: one value."""

    values: Sequence[float | bool]
    own: bool = False
    spread: bool = True
    plain: bool = False
    needed: bool = False


@dataclass(frozen=True)
class Method:
    params: Mapping[str, Param] = field(default_factory=dict)
    models: tuple[int, int] = (2, 3)
    base: str = "needed"  # "optional": may be left out


WEIGHT = Param(WEIGHTS, own=True, needed=True)
MASK = Param(SWITCH, plain=True)
CHANGES = {"weight": WEIGHT, "normalize": Param(SWITCH), "lambda": Param((0.5, 1.0, -0.7)), "int8_mask": MASK}
SPARSE = {**CHANGES, "density": Param(SHARES, own=True), "rescale": Param(SWITCH)}
DRAWN = {**SPARSE, "density": Param(ALL_OR_NOTHING, own=True, spread=False)}
MIDDLE = {**SPARSE, "gamma": Param((0.0, 0.05, 0.2, 0.33, 0.8), own=True)}
RANKED = {**DRAWN, "epsilon": Param((0.05, 0.2), own=True)}

METHODS: Mapping[str, Method] = {
    "linear": Method({"weight": WEIGHT, "normalize": Param(SWITCH)}, base="optional"),
    "passthrough": Method({"scale": Param((0.5, 2.0, -1.0, 0.0), own=True)}, models=(1, 1), base="optional"),
    "slerp": Method({"t": Param((0.0, 0.3, 0.8, 1.0), needed=True)}, models=(1, 1)),
    "nuslerp": Method(
        {
            "weight": WEIGHT,
            "nuslerp_flatten": Param((False, False, True)),
            "nuslerp_row_wise": Param(SWITCH, plain=True),
        },
        models=(2, 2),
        base="optional",
    ),
    "multislerp": Method({"weight": WEIGHT, "normalize_weights": Param(SWITCH)}, base="optional"),
    "karcher": Method(
        {"max_iter": Param((0, 1, 3, 10), spread=False), "tol": Param((1e-5, 1e-3, 0.05))}, base="optional"
    ),
    "model_stock": Method({"filter_wise": Param(SWITCH)}),
    "nearswap": Method({"t": Param((0.0, 0.01, 0.2, 1.0), needed=True)}, models=(1, 1)),
    "arcee_fusion": Method(models=(1, 1)),
    "sce": Method({"select_topk": Param((0.0, 0.2, 0.7, 1.0)), "int8_mask": MASK}),
    "ram": Method({"epsilon": Param((1e-5, 0.1, 0.3))}),
    "ramplus_tl": Method({"epsilon": Param((1e-5, 0.1, 0.3)), "r": Param((0.1, 0.5)), "alpha": Param((0.2, 0.9, 2.0))}),
    "task_arithmetic": Method(CHANGES),
    "ties": Method(SPARSE),
    "dare_linear": Method(DRAWN),
    "dare_ties": Method(DRAWN),
    "breadcrumbs": Method(MIDDLE),
    "breadcrumbs_ties": Method(MIDDLE),
    "della": Method(RANKED),
    "della_linear": Method(RANKED),
}

Written = dict[str, Any]


class Draw:
    """One config of one method."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.method = METHODS[name]
        self.plain = number == 0  # nothing but what must be given, and a density
        self.luck = random.Random(f"{name} {number}")
        self.form = ("models", "slices", "models", "module")[number % 4]
        self.stacked = name == "passthrough" and self.form == "slices"
        most = 2 if self.stacked else self.luck.randint(*self.method.models)
        self.labels = self.luck.sample(("a", "b", "c"), most)
        self.base = self.method.base == "needed" or self.luck.random() < 0.5
        self.base = self.base and (name != "passthrough" or self.stacked)

    def config(self) -> Written:
        written: Written = {"merge_method": self.name}
        if self.base:
            written["base_model"] = "models/base"
        own, shared = self._parameters()
        if self.form == "slices":
            count = 2 if self.stacked else self.luck.choice((1, 2))
            written["slices"] = [self._slice(own, number, alone=count == 1) for number in range(count)]
        else:
            models = [_with({"model": f"models/{label}"}, own.get(label)) for label in self._listed()]
            written |= {"models": models} if self.form == "models" else {"modules": {"default": {"models": models}}}
        return _with(written, shared)

    def _listed(self) -> list[str]:
        """The base stands among the models, anywhere, or is left to mergekit to add."""
        listed = list(self.labels)
        if self.base and (self.name == "linear" or self.luck.random() < 0.6):  # there it may have a weight
            listed.insert(self.luck.randint(0, len(listed)), "base")
        return listed

    def _slice(self, own: Mapping[str, Written], number: int, *, alone: bool) -> Written:
        """The first of two may have parameters of its own."""
        length = self.luck.randint(1, 3)
        labels = [self.labels[number]] if self.stacked else [*self.labels, *(("base",) if self.base else ())]
        self.luck.shuffle(labels)
        sources = [self._source(label, length, own.get(label)) for label in labels]
        around = {
            name: self._value(name, LAYERED)
            for name, param in self.method.params.items()
            if number == 0 and not alone and not param.own and self.luck.random() < 0.4
        }
        return _with({"sources": sources}, around)

    def _source(self, label: str, length: int, own: Written | None) -> Written:
        start = self.luck.randint(0, LAYERS - length)
        return _with({"model": f"models/{label}", "layer_range": [start, start + length]}, own)

    def _parameters(self) -> tuple[dict[str, Written], Written]:
        """Under the models, and at the top."""
        own: dict[str, Written] = {label: {} for label in self.labels}
        shared: Written = {}
        inputs = [*self.labels, *(("base",) if self.base and self.name == "linear" else ())]
        for name, param in self.method.params.items():
            skipped = name != "density" if self.plain else self.luck.random() < 0.3
            if skipped and not param.needed:
                continue
            having = self.luck.sample(inputs, self.luck.randint(0, len(inputs))) if param.own else []
            for label in having:
                own.setdefault(label, {})[name] = self._value(name, LAYERED if self.form == "slices" else FILTERS)
            if len(having) < len(inputs):
                shared[name] = self._value(name, FILTERS, closed=param.needed)
        return own, shared

    def _value(self, name: str, filters: Sequence[str], *, closed: bool = True) -> Any:
        """A value, values over the layers, or filters; `closed`: with a value for what no filter speaks of."""
        if self.method.params[name].plain:
            return self.luck.choice(self.method.params[name].values)
        kind = self.luck.choice(("plain", "spread", "filters"))
        if kind == "filters":
            chosen = self.luck.sample(filters, self.luck.randint(1, 2))
            entries = [{"filter": one, "value": self._plain_or_spread(name, one in LAYERED)} for one in chosen]
            return [*entries, {"value": self._plain_or_spread(name, True)}] if closed else entries[0]
        return self._plain_or_spread(name, kind == "spread")

    def _plain_or_spread(self, name: str, layered: bool) -> Any:
        param = self.method.params[name]
        if layered and param.spread and self.luck.random() < 0.5:
            return [self.luck.choice(param.values) for _ in range(self.luck.randint(2, 4))]
        return self.luck.choice(param.values)


def _with(written: Written, parameters: Written | None) -> Written:
    return written | ({"parameters": parameters} if parameters else {})


def drawn() -> list[GridCase]:
    return [GridCase(f"{name} {n}", Draw(name, n).config(), {}) for name in METHODS for n in range(EACH)]


def main() -> None:
    logging.disable(logging.CRITICAL)
    texts = [(case, case.text) for case in drawn()]
    texts += [(GridCase(one.name, {}, {}), one.text) for one in EXAMPLES if not one.random]
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_models(Path(folder))
        for number, (case, text) in enumerate(texts):
            out = Path(folder) / str(number)
            error = run({"config": text, "out": str(out)})
            if error:
                sys.stderr.write(f"{case.name}: {error}\n{text}\n")
                continue
            numbers = {group: round(value, 9) for group, value in fingerprint(read_model(out)).items()}
            lines.append(json.dumps(case._replace(numbers=numbers)._asdict()))
            shutil.rmtree(out)
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
