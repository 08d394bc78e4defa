"""Networks that answer the tasks of a kind, as learning needs them: one set of weights that all tasks share.

`module` has the weights of the base model; whoever writes others into its parameters asks those. What is not merged,
such as heads, are no parameters of it but buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import LigateError, raise_all

from . import causal, images, phrases, sequences
from .loading import tokenizer_of
from .questions import Asked, Content

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Examples(NamedTuple):
    """A batch as a network takes it, and the right classes [N]; for language models N counts tokens, not texts."""

    inputs: Any
    right: Tensor


class Answer(NamedTuple):
    """Logits [N, C], and the hidden states [N, D] of which a head makes them, where the network shows any."""

    logits: Tensor
    hidden: Tensor | None = None


class Wanted(NamedTuple):
    """A task that a network is to answer.

    Args:
        phrases: of its classes, in order, for heads that are made of them.
        expert: folder of the model whose head answers, for networks with heads of their own.
        prompts: texts with a place `{}` for a class, for networks that look at images.
        place: where the user speaks of it.
    """

    phrases: Sequence[str]
    expert: Path | None
    prompts: Sequence[str]
    place: object


@dataclass(frozen=True)
class Network:
    """Args:
    answer: (task, inputs) -> what the network says, with gradients if they are on.
    examples: (task, questions) -> a batch.
    answers: inputs -> the logits of every task, in order, where one pass of the network serves all heads.
    """

    module: nn.Module
    answer: Callable[[str, Any], Answer]
    examples: Callable[[str, Sequence[Asked]], Examples]
    answers: Callable[[Any], Mapping[str, Tensor]] | None = None

    def ask(self, task: str, inputs: Any) -> Tensor:
        """[N, C] logits."""
        return self.answer(task, inputs).logits


Maker = Callable[[Path, Mapping[str, Wanted], int, object], Network]


def network_of(kind: str, base: Path, tasks: Mapping[str, Wanted], length: int, place: object) -> Network:
    """The network of one of the kinds of tasks that recipes know; texts are cut after `length` tokens.

    Raises:
        InputError, Problems: the folder holds no such network, or a head does not fit its task.
    """
    made = _MAKERS[kind](base, tasks, length, place)
    made.module.eval()
    return made


def frozen_but(module: nn.Module, names: Collection[str]) -> None:
    """Make a buffer of every parameter that is not called so."""
    for name, value in list(module.named_parameters(remove_duplicate=False)):
        if name not in names:
            owner, last = _owner(module, name)
            delattr(owner, last)
            owner.register_buffer(last, value.detach())


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, last = name.rpartition(".")
    return module.get_submodule(path), last


def _right(asked: Sequence[Asked]) -> Tensor:
    import torch

    return torch.tensor([one.answer for one in asked])


def _of_phrases(base: Path, tasks: Mapping[str, Wanted], length: int, place: object) -> Network:
    model, tokenizer = phrases.opened(base, place), tokenizer_of(base)
    heads = {name: phrases.head(model.eval(), tokenizer, task.phrases, length) for name, task in tasks.items()}

    def examples(task: str, asked: Sequence[Asked]) -> Examples:
        return Examples(phrases.tokens(tokenizer, [one.key for one in asked], length), _right(asked))

    def answer(task: str, inputs: Any) -> Answer:
        means = phrases.means(model, inputs)
        return Answer(phrases.logits(means, heads[task]), means)

    def answers(inputs: Any) -> dict[str, Tensor]:
        means = phrases.means(model, inputs)
        return {task: phrases.logits(means, head) for task, head in heads.items()}

    return Network(model, answer, examples, answers)


def _of_sequences(base: Path, tasks: Mapping[str, Wanted], length: int, place: object) -> Network:
    """The whole networks of all tasks, which share the parameters of their bodies."""
    folders = {name: task.expert for name, task in tasks.items() if task.expert is not None}
    loaded = {name: sequences.opened(folder) for name, folder in folders.items()}
    problems: list[LigateError] = []
    for name, one in loaded.items():
        problems += sequences.misfit(folders[name].name, tasks[name].place, one, len(tasks[name].phrases))
    raise_all(problems)
    body = sequences.body_of(sequences.opened(base), [*loaded.values()], place)
    models = {name: one.model.float() for name, one in loaded.items()}
    first = next(iter(models.values()))
    for model in models.values():
        model.eval()
        _share(first, model, body)
    frozen_but(first, body)
    tokenizer = tokenizer_of(next(iter(folders.values())))

    def examples(task: str, asked: Sequence[Asked]) -> Examples:
        rows = [tokenizer(*one.content, truncation=True, max_length=length) for one in asked]
        return Examples(sequences.padded(tokenizer, rows), _right(asked))

    def answer(task: str, inputs: Any) -> Answer:
        told = models[task](**inputs, output_hidden_states=True)
        states, kept = getattr(told, "hidden_states", None), inputs.get("attention_mask")
        return Answer(told.logits, phrases.mean(states[-1], kept) if states and kept is not None else None)

    return Network(first, answer, examples)


def _share(first: nn.Module, other: nn.Module, names: Collection[str]) -> None:
    """Give a network the parameters of another, so that weights written into one are those of both."""
    for name in names:
        owner, last = _owner(other, name)
        setattr(owner, last, first.get_parameter(name))


def _of_images(base: Path, tasks: Mapping[str, Wanted], length: int, place: object) -> Network:
    images.require_pillow(place)
    model: Any = images.two_towers(base, place).float().eval()
    tokenizer, processor = tokenizer_of(base), images.processor_of(base)
    heads = {name: images.head(model, tokenizer, task.phrases, task.prompts) for name, task in tasks.items()}
    scale = float(model.logit_scale.detach().exp())
    frozen_but(model, [name for name in model.state_dict() if name.startswith((images.TOWER, images.PROJECTION))])

    def examples(task: str, asked: Sequence[Asked]) -> Examples:
        return Examples([one.content for one in asked], _right(asked))  # opened when they are asked: they are large

    def answer(task: str, contents: Sequence[Content]) -> Answer:
        return Answer(scale * images.image_vectors(model, images.pixels(processor, contents)) @ heads[task].T)

    def answers(contents: Sequence[Content]) -> dict[str, Tensor]:
        seen = images.image_vectors(model, images.pixels(processor, contents))
        return {task: scale * seen @ head.T for task, head in heads.items()}

    return Network(model, answer, examples, answers)


def _of_language(base: Path, tasks: Mapping[str, Wanted], length: int, place: object) -> Network:
    """Every token of a text is told from those before it, the first one from the mark."""
    import torch

    model, tokenizer = causal.opened(base).float(), tokenizer_of(base)
    mark = causal.mark_of(tokenizer, base)

    def examples(task: str, asked: Sequence[Asked]) -> Examples:
        rows, _ = causal.windows(tokenizer, [one.key for one in asked], length, tasks[task].place)
        return Examples(rows, rows[rows != causal.FILLER])

    def answer(task: str, rows: torch.Tensor) -> Answer:
        begun = torch.cat([rows.new_full((len(rows), 1), mark), rows[:, :-1]], 1).clamp_min(0)  # fillers come last
        return Answer(model(input_ids=begun).logits[rows != causal.FILLER])

    return Network(model, answer, examples)


_MAKERS: Mapping[str, Maker] = {
    "classification": _of_phrases,
    "sequence-classification": _of_sequences,
    "image-classification": _of_images,
    "causal-lm": _of_language,
}
