"""Which model another was fine-tuned from, by what all of them compute on a few of the user's inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.align.stored import names_of, read_tensor
from ligate.core.errors import InputError, RecipeError
from ligate.core.tensors import Source
from ligate.recipe.parse import data_of
from ligate.recipe.schema import DataSpec
from ligate.tasks import sequences
from ligate.tasks.loading import require_known, require_transformers
from ligate.tasks.network import Network, Wanted, network_of

from .learning_data import Examples, read
from .opening import labels_of, open_model
from .parallel import one_processor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ligate.tasks.questions import Asked
    from ligate.trace.neural.ranking import Approximation, Candidate
    from ligate.trace.neural.tangent import Net, State

Place = str | PathLike[str]

INPUTS = 16


@dataclass(frozen=True)
class Resembling:
    """Args:
    candidates: the likeliest parent first, as `ligate.trace.neural.ranking` tells them.
    inputs: how many were asked.
    reordered: candidates whose units had to be brought into the child's order first.
    sure: what a detector makes of it; None without one.
    """

    child: str
    candidates: tuple[Candidate, ...]
    inputs: int
    reordered: tuple[str, ...] = ()
    sure: Mapping[str, float] | None = None

    @property
    def parent(self) -> str:
        return next(iter(self.sure)) if self.sure else self.candidates[0].name


def trace_by_inputs(
    child: Place,
    parents: Sequence[Place],
    data: Place,
    *,
    inputs: int = INPUTS,
    similarity: str | None = None,
    approximation: Approximation = "features",
    step: float | None = None,
    detector: Place | None = None,
) -> Resembling:
    """Rank models for the parent of one by hidden states (or logits, where there are none) on a few inputs.

    Models are folders that transformers knows, all of one architecture as far as the step of fine-tuning is to be taken
    into account; heads may differ. Labels are not read. Models whose units were reordered are put in the child's order.

    Args:
        data: YAML file with a block `data:`, as of a learned merge (docs/learned.md).
        inputs: at most so many, spread over the tasks.
        detector: folder of one that was trained (`ligate.trace.neural.detector.save`).

    Raises:
        RecipeError, InputError, Problems: the data cannot be read, or a model cannot be asked.
    """
    from ligate.trace.neural import ranking
    from ligate.trace.neural.detector import detected, load
    from ligate.trace.neural.tangent import Net, says_of

    if inputs < 1 or not parents:
        raise RecipeError("needs inputs and possible parents", where="trace", hint="`--parents A B --inputs 16`.")
    spec = data_of(Path(data))
    require_transformers(spec.place)
    first, *labels = labels_of([str(child), *(str(each) for each in parents)])
    with ExitStack() as stack, one_processor():
        sources: list[Source] = []
        for path, name in zip((child, *parents), (first, *labels), strict=True):
            sources.append(open_model(str(path), label=name))
            stack.callback(sources[-1].close)
        network, batches = _asked(spec, sources[0], inputs)
        says = says_of(network.module, lambda _module: _told(network, batches))
        own = Net(says, _state(network.module, sources[0]))
        moved: list[str] = []
        nets = _Nets(dict(zip(labels, sources[1:], strict=True)), sources[0], own, network.module, moved)
        found = ranking.ranked(
            own, nets, similarity or ranking.SIMILARITY, approximation, ranking.STEP if step is None else step
        )
        sure = None if detector is None else detected(load(Path(detector)), own, nets)
    return Resembling(first, found.candidates, sum(count for _, _, count in batches), tuple(dict.fromkeys(moved)), sure)


def text(found: Resembling) -> str:
    """One line for each candidate."""
    lines = [f"{found.child}: who says most nearly the same of {found.inputs} inputs, after one step towards it"]
    width = max(len(each.name) for each in found.candidates)
    return "\n".join(lines + [f"  {each.name:{width}s}  {_line(each, found)}" for each in _ordered(found)])


def data_of_resembling(found: Resembling) -> dict[str, Any]:
    """For JSON."""
    sure = found.sure or {}
    told = [
        {**vars(each), "left": list(each.left), "sure": sure.get(each.name), "reordered": each.name in found.reordered}
        for each in _ordered(found)
    ]
    return {"child": found.child, "parent": found.parent, "inputs": found.inputs, "candidates": told}


def _ordered(found: Resembling) -> list[Candidate]:
    if not found.sure:
        return list(found.candidates)
    return sorted(found.candidates, key=lambda each: -(found.sure or {})[each.name])


def _line(each: Candidate, found: Resembling) -> str:
    parts = [f"{each.score:.4f}" if each.comparable else "not comparable"]
    if each.explained is not None:
        parts.append(f"{each.plain:.4f} without the step, which explains {100 * each.explained:.0f} %")
    if each.distance is not None:
        parts.append(f"weights {100 * each.distance:.3g} % apart")
    parts += [f"the detector says {found.sure[each.name]:.2f}"] if found.sure else []
    parts += [f"{len(each.left)} tensors without a partner"] if each.left else []
    parts += ["brought into its order"] if each.name in found.reordered else []
    return "; ".join([*parts, each.why] if each.why else parts)


Batch = tuple[str, Any, int]


def _asked(spec: DataSpec, child: Source, inputs: int) -> tuple[Network, list[Batch]]:
    """The child's network, and what it is asked, all under the name of the first task: heads do not matter."""
    if child.folder is None:
        hint = "save it as transformers does: config.json, tokenizer and weights in one folder."
        raise InputError("is no folder, so nobody knows its network", where=child.label, hint=hint)
    require_known(child.folder)
    labels = sequences.classes_of(child.folder) if spec.kind == "sequence-classification" else None
    found = {task.name: read(spec, task, labels, labelled=False) for task in spec.tasks}
    first = spec.tasks[0]
    wanted = Wanted(found[first.name].phrases, child.folder, first.prompts, first.place)
    network = network_of(spec.kind, child.folder, {first.name: wanted}, spec.length, spec.place)
    each = math.ceil(inputs / len(found))
    chosen = [one for examples in found.values() for one in _some(examples, each)][:inputs]
    return network, [(first.name, network.examples(first.name, chosen).inputs, len(chosen))]


def _some(examples: Examples, count: int) -> Sequence[Asked]:
    return [*examples.learning, *examples.stopping][:count]


def _told(network: Network, batches: Sequence[Batch]) -> Tensor:
    import torch

    answers = [network.answer(task, inputs) for task, inputs, _ in batches]
    return torch.cat([each.logits if each.hidden is None else each.hidden for each in answers])


def _state(module: nn.Module, source: Source) -> dict[str, Tensor]:
    """The parameters of a network as a checkpoint has them, in float32."""
    places = names_of(module, source.headers()).stored
    found: dict[str, Tensor] = {}
    for name, value in module.named_parameters():
        place = places.get(name)
        if place is not None and value.is_floating_point():
            found[name] = read_tensor(source, place).float()
    if not found:
        raise InputError("has nothing of the child's network", where=source.label)
    return found


class _Nets(Mapping[str, "Net"]):
    """Candidates, one of which is in memory at a time; in the child's order where only that makes them kin."""

    def __init__(
        self, sources: Mapping[str, Source], like: Source, child: Net, module: nn.Module, moved: list[str]
    ) -> None:
        self._sources, self._like, self._child = sources, like, child
        self._module, self._moved = module, moved

    def __getitem__(self, name: str) -> Net:
        from ligate.trace.kinship import RELATED
        from ligate.trace.orders import reordered

        source = self._sources[name]
        state = _state(self._module, source)
        if _least_cosine(state, self._child.state) < RELATED:
            in_order = reordered([self._like, source], [(0,), (1,)])
            if in_order:
                self._moved.append(name)
                state = _state(self._module, in_order[1])
        return self._child._replace(state=state)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _least_cosine(one: State, other: State) -> float:
    """Of all matrices that both have: near 0 where one of them was written anew, or in another order."""
    from ligate.trace.neural.tangent import shared

    found = [1.0]
    for name in shared(one, other):
        if one[name].ndim > 1:
            product = float((one[name] * other[name]).sum())
            lengths = float(one[name].norm() * other[name].norm())
            found.append(product / lengths if lengths > 0 else 0.0)
    return min(found)
