"""A learned merge before its first step: everything checked, data read, the network open, models streamed from disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.align.stored import names_of, read_tensor
from ligate.core.errors import InputError, LigateError, raise_all
from ligate.core.tensors import Source
from ligate.engine.plan import Out
from ligate.recipe.schema import DataSpec, Recipe
from ligate.tasks import sequences
from ligate.tasks.loading import require_known, require_transformers
from ligate.tasks.network import Network, Wanted, frozen_but, network_of

from .canonical import Lookup
from .learning_choice import Chosen, chosen, stand_in
from .learning_data import Examples, in_batches, read
from .sources import flat
from .undertaking import How, Undertaking, undertaking

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.learn.gradient import Task
    from ligate.learn.objectives import Batch
    from ligate.tasks.questions import Asked


class Streamed(Mapping[str, "Tensor"]):
    """The tensors of one model under the names that the network gives them, read whenever they are asked for."""

    def __init__(self, source: Source, names: Mapping[str, str]) -> None:
        self._source, self._names = source, names

    def __getitem__(self, name: str) -> Tensor:
        return read_tensor(self._source, self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class Lesson:
    """What learning takes.

    Args:
        places: parameter of the network -> the tensor of the result that it is.
        left: tensors of the result that are merged, and that the network has not got.
        models: the base and the experts.
    """

    chosen: Chosen
    job: Undertaking
    network: Network
    examples: Mapping[str, Examples]
    places: Mapping[str, str]
    left: Sequence[str]
    models: Sequence[Streamed]

    @property
    def scalars(self) -> int:
        """How many numbers are learned."""
        shapes = {name: one.shape for name, one in self.network.module.named_parameters()}
        numbers = self.chosen.preset.parametrisation.start(shapes, len(self.models) - 1)
        return sum(one.numel() for one in numbers.values())

    @property
    def together(self) -> Callable[[Any], Mapping[str, Tensor]] | None:
        """What answers all tasks at once, if every task is to be asked about the inputs of all."""
        alike = all(task.weight == 1 for task in self.chosen.data.tasks)
        return self.network.answers if self.chosen.preset.pooled and alike else None

    def tasks(self) -> list[Task]:
        """The tasks in batches; which of the models was trained for one is told by its name."""
        if self.together is not None:
            return [self._all(self.together)]
        return [self._task(name, one) for name, one in self.examples.items()]

    def _all(self, answers: Callable[[Any], Mapping[str, Tensor]]) -> Task:
        from ligate.learn.pooling import Known, pooled

        first, numbered = next(iter(self.examples)), [*enumerate(self.examples.values())]
        learning = [Known(one, number, one.answer) for number, each in numbered for one in each.learning]
        stopping = [Known(one, number, one.answer) for number, each in numbered for one in each.stopping]
        experts = {name: self._expert(name) for name in self.examples}

        def inputs(some: Sequence[Asked]) -> Any:
            return self.network.examples(first, some).inputs

        return pooled(experts, answers, inputs, learning, stopping, self.chosen.data.batch * len(experts))

    def _expert(self, name: str) -> int | None:
        models = self.chosen.models
        return models.index(name) if name in models else None

    def _task(self, name: str, examples: Examples) -> Task:
        from ligate.learn.gradient import Task
        from ligate.learn.objectives import Told

        halves = [
            [self._batch(name, some) for some in in_batches(half, self.chosen.data.batch)]
            for half in (examples.learning, examples.stopping)
        ]
        weight = next(task.weight for task in self.chosen.data.tasks if task.name == name)

        def ask(inputs: Any) -> Told:
            return Told(*self.network.answer(name, inputs))

        return Task(name, ask, halves[0], halves[1], self._expert(name), weight)

    def _batch(self, name: str, asked: Sequence[Asked]) -> Batch:
        from ligate.learn.objectives import Batch

        told = self.network.examples(name, asked)
        known = self.chosen.needs_labels or self.chosen.data.kind == "causal-lm"
        return Batch(told.inputs, told.right if known else None)


@contextmanager
def lesson(recipe: Recipe, out: Path | None, how: How, lookup: Lookup) -> Generator[Lesson]:
    """The lesson of a recipe with `data:`. All that is wrong with recipe and models is told at once, then all that is
    wrong with the data, then what keeps the network from answering.

    Raises:
        RecipeError, InputError, StorageError, Problems.
    """
    problems: list[LigateError] = []
    choice = chosen(recipe, problems)
    with undertaking(stand_in(recipe, problems), out, how, lookup) as job:
        if choice is None:  # then `undertaking` has raised what is wrong
            raise InputError("there is nothing to learn")
        require_transformers(choice.data.place)
        data, base = choice.data, folder_of(job, job.stages[0].step.base or "")
        examples = examples_of(data, job, labelled=choice.needs_labels)
        network = network_of(data.kind, base, wanted_of(data, choice.models, job, examples), data.length, data.place)
        merged = {out.name: out for out in job.stages[0].plan.outs if out.method is not None and out.base is not None}
        places = places_of(network, merged)
        frozen_but(network.module, places)
        left = [name for name in merged if name not in places.values()]
        yield Lesson(choice, job, network, examples, places, left, _models(job, places, merged))


def folder_of(job: Undertaking, label: str) -> Path:
    """Where a model lies of which transformers knows the network.

    Raises:
        InputError: it does not.
    """
    source = job.sources[label]
    if source.folder is None:
        hint = "save it as transformers does: config.json, tokenizer and weights in one folder."
        raise InputError(f"model `{label}` is no folder, so nobody knows its network", where=label, hint=hint)
    require_known(source.folder)
    return source.folder


def examples_of(data: DataSpec, job: Undertaking, *, labelled: bool) -> dict[str, Examples]:
    """The examples of every task; all that is wrong with them is told at once.

    Raises:
        InputError, Problems.
    """
    problems: list[LigateError] = []
    found: dict[str, Examples] = {}
    for task in data.tasks:
        try:
            own_head = data.kind == "sequence-classification"
            labels = sequences.classes_of(folder_of(job, task.name)) if own_head else None
            found[task.name] = read(data, task, labels, labelled=labelled)
        except LigateError as error:
            problems += flat(error)
    raise_all(problems)
    return found


def wanted_of(
    data: DataSpec, models: Sequence[str], job: Undertaking, examples: Mapping[str, Examples]
) -> dict[str, Wanted]:
    """What a network has to answer; a task of a model's name may be answered by the head of that model."""
    return {
        task.name: Wanted(
            examples[task.name].phrases,
            job.sources[task.name].folder if task.name in models else None,
            task.prompts,
            task.place,
        )
        for task in data.tasks
    }


def places_of(network: Network, merged: Mapping[str, Out]) -> dict[str, str]:
    """Where each parameter of the network lies in the result, as far as it is merged there.

    Raises:
        InputError: it has another shape there, or nothing of the network is merged.
    """
    names = names_of(network.module, {name: out.header for name, out in merged.items()})
    if names.joined:
        text = f"`{min(names.joined)}` of the network is stored in parts, which cannot be learned on"
        raise InputError(text, where="data", hint="merge such a mixture by a rule without data.")
    found: dict[str, str] = {}
    for name, value in network.module.named_parameters():
        place = names.place(name)
        if place is None:
            continue
        if merged[place].shape != tuple(value.shape):
            text = (
                f"`{place}` is {list(merged[place].shape)} in the merge, and {list(value.shape)} in the base's network"
            )
            raise InputError(text, where="data", hint="learn on models of one vocabulary.")
        found[name] = place
    if not found:
        hint = "is the base of the kind that `data: {kind: ...}` says?"
        raise InputError("nothing of the network is merged", where="data", hint=hint)
    return found


def _models(job: Undertaking, places: Mapping[str, str], merged: Mapping[str, Out]) -> list[Streamed]:
    """By what the plan reads, so that adapters, alignments and vocabularies are those of the merge."""
    plan = job.stages[0].plan
    count = len(next(iter(merged.values())).operands)
    found: list[Streamed] = []
    for number in range(count):
        operands = {name: merged[place].operands[number] for name, place in places.items()}
        source = plan.sources[next(iter(operands.values())).source]
        found.append(Streamed(job.sources[source], {name: one.name for name, one in operands.items()}))
    return found
