"""The plan of a mixture: which tensor of which dense model becomes which of the result. Reads headers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ligate.core.errors import InputError, LigateError, raise_all
from ligate.core.tensors import MERGEABLE, Header
from ligate.engine.plan import Operand, Out, Plan

from .expert_layouts import FEED_FORWARD, LAST_PART, Layout
from .findings import Findings, Tell, counted, listed
from .mixture import Expert, Mixture

Headers = Mapping[str, Mapping[str, Header]]
"""By label, then by tensor name."""

MADE = "made here"
"""Label of the source that holds what no model has: gates, and zeros where a layout wants something."""
SHARED_WIDTH = 64
"""Width of a shared expert of zeros: as little as inference engines can share among their processes."""

_SCALED = "merge/passthrough"
_NOT_WEIGHTS = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
_SHARD = 5_000_000_000


@dataclass(frozen=True)
class Making:
    """What has to be made before the plan can run: gates by layer, and zeros."""

    gates: Mapping[int, str]  # layer -> name of its gate
    shared_gates: Mapping[int, str]
    zeros: Mapping[str, tuple[int, ...]]
    shared_width: int


@dataclass(frozen=True)
class MixturePlan:
    plan: Plan
    making: Making


def noisy_label(label: str, number: int, kind: str) -> str:
    """Under which the weights of an expert with noise are read."""
    return f"{label} with noise ({kind} {number})"


def mixture_plan(
    mixture: Mixture, layout: Layout, headers: Headers, *, hidden: int, shard_bytes: int = _SHARD, seed: int = 0
) -> MixturePlan:
    """Every tensor of the mixture in the order of its layers.

    Raises:
        InputError, Problems: an expert lacks a weight or has it in another shape; the layout cannot hold one.
    """
    return _Planner(mixture, layout, headers, hidden).planned(shard_bytes, seed)


class _Planner:
    def __init__(self, mixture: Mixture, layout: Layout, headers: Headers, hidden: int) -> None:
        self.mixture, self.layout, self.headers, self.hidden = mixture, layout, headers, hidden
        self.base = headers[mixture.base]
        self.labels: dict[str, int] = {}
        self.gates: dict[int, str] = {}
        self.shared_gates: dict[int, str] = {}
        self.zeros: dict[str, tuple[int, ...]] = {}
        self.width = 0

    def planned(self, shard_bytes: int, seed: int) -> MixturePlan:
        raise_all(self._problems())
        self._source(self.mixture.base)
        outs: list[Out] = []
        dropped: list[Operand] = []
        for name in self.base:
            found = FEED_FORWARD.fullmatch(name)
            if found:
                outs += self._feed_forward(name, found["layer"], int(found["number"]), found["part"])
            elif name.endswith(_NOT_WEIGHTS):
                dropped.append(Operand(0, name))
            else:
                outs.append(self._copied(name, name, self.mixture.base))
        outs += self._missing_biases()
        plan = Plan(tuple(self.labels), tuple(outs), tuple(dropped), seed, shard_bytes, {"format": "pt"})
        return MixturePlan(plan, Making(self.gates, self.shared_gates, self.zeros, self.width))

    def _feed_forward(self, name: str, prefix: str, number: int, part: str) -> Iterator[Out]:
        """One weight of a layer, from each expert; with the layer's last one also its gates."""
        last = part == LAST_PART
        for index, expert in enumerate(self.mixture.experts):
            label = noisy_label(expert.model, index + 1, "expert") if expert.noise else expert.model
            yield self._expert(name, prefix + self.layout.parts[part].format(index), expert, label, last)
        if self.layout.shared:
            yield self._shared(name, prefix + self.layout.shared[part], part)
        if last:
            self.gates[number] = prefix + self.layout.gate
            yield self._made(self.gates[number], (len(self.mixture.experts), self.hidden), name)
            if self.layout.shared:
                self.shared_gates[number] = prefix + self.layout.shared_gate
                yield self._made(self.shared_gates[number], (1, self.hidden), name)

    def _expert(self, name: str, new: str, expert: Expert, label: str, last: bool) -> Out:
        return self._copied(name, new, label, of=expert.model, scale=expert.residual if last else 1.0)

    def _shared(self, name: str, new: str, part: str) -> Out:
        """The shared expert; where none is asked for, a narrow one of zeros, which adds nothing."""
        if self.mixture.shared:
            expert = self.mixture.shared[0]
            label = noisy_label(expert.model, 1, "shared expert") if expert.noise else expert.model
            self.width = self._width(name, part)
            return self._expert(name, new, expert, label, part == LAST_PART)
        self.width = SHARED_WIDTH
        shape = (self.hidden, self.width) if part == LAST_PART else (self.width, self.hidden)
        self.zeros[new] = shape
        return self._made(new, shape, name)

    def _width(self, name: str, part: str) -> int:
        return self.base[name].shape[1 if part == LAST_PART else 0]

    def _copied(self, name: str, new: str, label: str, *, of: str | None = None, scale: float = 1.0) -> Out:
        """A tensor as it is, in the dtype of the result, times a factor."""
        stored = self.headers[of or label][name]
        native = self.base[name].native
        dtype = (self.mixture.dtype or native) if native in MERGEABLE else native
        plain = scale == 1 and stored.dtype == dtype
        method, params = (None, {}) if plain or native not in MERGEABLE else (_SCALED, {"scale": (scale,)})
        return Out(new, dtype, stored.shape, method, (Operand(self._source(label), name),), params=params)

    def _made(self, new: str, shape: tuple[int, ...], beside: str) -> Out:
        dtype = self.mixture.dtype or self.base[beside].native
        return Out(new, dtype, shape, _SCALED, (Operand(self._source(MADE), new),), params={"scale": (1.0,)})

    def _missing_biases(self) -> Iterator[Out]:
        for name in self.base:
            module = name.removesuffix(".weight")
            if module.endswith(self.layout.biases) and self.layout.biases and f"{module}.bias" not in self.base:
                self.zeros[f"{module}.bias"] = self.base[name].shape[:1]
                yield self._made(f"{module}.bias", self.base[name].shape[:1], name)

    def _source(self, label: str) -> int:
        return self.labels.setdefault(label, len(self.labels))

    def _problems(self) -> Sequence[LigateError]:
        found = Findings()
        parts = [name for name in self.base if FEED_FORWARD.fullmatch(name)]
        if not parts:
            text = "it has no `layers.N.mlp.gate_proj` and the like that experts could be made of"
            found.add(InputError(text).inside(model=self.mixture.base))
        for error in self._unsound(parts):
            found.add(error)
        for name in self.base:
            if ".mlp." in name and name not in parts:
                found.repeated("other", name, self._unknown_part)
        for expert in (*self.mixture.experts, *self.mixture.shared):
            own = self.headers[expert.model]
            for name in parts:
                if name not in own:
                    found.repeated(("lacks", expert.model), name, _lacks(expert.model, self.mixture.base))
                elif own[name].shape != self.base[name].shape:
                    shapes = f"{list(own[name].shape)} instead of {list(self.base[name].shape)}"
                    found.repeated(("shape", expert.model, shapes), name, _reshaped(expert.model, shapes))
        return found.errors()

    def _unsound(self, parts: Sequence[str]) -> Iterator[LigateError]:
        """What keeps the base's layers from being those of one model, each with its whole feed-forward."""
        prefixes = dict.fromkeys(found["layer"] for name in parts if (found := FEED_FORWARD.fullmatch(name)))
        missing = [
            name for at in prefixes for part in self.layout.parts if (name := f"{at}mlp.{part}.weight") not in self.base
        ]
        if missing:
            text = f"lacks {counted(missing)}: {listed(missing)}"
            yield InputError(text, hint="is the model complete?").inside(model=self.mixture.base)
        stacks = {at.removesuffix(".").rpartition(".")[0] for at in prefixes}
        if len(stacks) > 1:
            text = f"has several stacks of layers: {listed(sorted(stacks))}"
            yield InputError(text, hint="mixtures are made of models with one.").inside(model=self.mixture.base)
        narrow = [name for name in parts if not self._is_wide(name)]
        if narrow:
            text = (
                f"config.json tells of hidden states {self.hidden} wide, other than {counted(narrow)}: {listed(narrow)}"
            )
            yield InputError(text, hint="is it the model's own config.json?").inside(model=self.mixture.base)

    def _is_wide(self, name: str) -> bool:
        """Whether a base's weight is a matrix on the hidden states of which its config tells."""
        shape = self.base[name].shape
        return len(shape) == 2 and shape[0 if name.endswith(f"{LAST_PART}.weight") else 1] == self.hidden

    def _unknown_part(self, names: Sequence[str]) -> LigateError:
        text = f"the layout {self.layout.id} has no place for {counted(names)}: {listed(names)}"
        return InputError(text, hint="mixtures are made of dense models.").inside(model=self.mixture.base)


def _lacks(label: str, base: str) -> Tell:
    hint = "experts are models of the same architecture and size."
    return lambda names: InputError(f"lacks {counted(names)} of {base}: {listed(names)}", hint=hint).inside(model=label)


def _reshaped(label: str, shapes: str) -> Tell:
    hint = "experts are models of the same size."
    return lambda names: InputError(f"has other shapes ({shapes}): {listed(names)}", hint=hint).inside(model=label)
