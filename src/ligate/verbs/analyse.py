"""How alike two networks are, layer by layer and unit by unit, on given inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.align.architecture import Architecture, architecture_of, given_architecture, hushed
from ligate.align.stored import Joined, names_of, read_tensor
from ligate.core.errors import InputError
from ligate.core.tensors import Source
from ligate.io.vocabulary import vocabulary_clash

from .inputs import Given, read_inputs
from .opening import Model, opened
from .parallel import one_processor
from .similarity.result import Analysis
from .watch import Nobody, Watch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ligate.align.analysis.layer import Wish
    from ligate.align.analysis.reading import Recorded

INPUTS, BATCH, LENGTH = 512, 16, 64
_ROWS = 1 << 24  # more than any vocabulary has


class _Network(NamedTuple):
    """A network with the weights that it is asked with."""

    label: str
    architecture: Architecture
    weights: Mapping[str, Tensor]


def analyse(
    a: Model,
    b: Model,
    data: str | PathLike[str],
    *,
    model: str | None = None,
    inputs: int = INPUTS,
    length: int = LENGTH,
    wish: Wish | None = None,
    watch: Watch | None = None,
) -> Analysis:
    """Compare two checkpoints on the inputs of a file; their widths may differ.

    The networks are those that config.json names, or what the function `model` (`module:function`) returns. Of `data`,
    at most so many `inputs` are used: arrays (`.npy`, `.npz`) as the networks take them, or lines of text, cut into
    pieces of `length` tokens by the tokenizer of `a`, which must number tokens as that of `b` does. Layers are compared
    by the names of what reads them.

    Raises:
        InputError: a model or the data cannot be read, a network cannot be traced, or they have no layer in common.
        RecipeError: an option is wrong, or a library is missing.
        NonFiniteError: a network makes NaN or infinity of the inputs.
    """
    with opened(a, unnamed="A") as one, opened(b, unnamed="B") as two:
        networks = [_network(source, model) for source in (one, two)]
        given = read_inputs(Path(data), networks[0].architecture, one.folder, length)
        if isinstance(given.tensors, Mapping) and Path(data).suffix != ".npz":
            _require_same_tokens(one, two)
        return _analysed(networks[0], networks[1], given, inputs, wish, watch or Nobody())


def analyse_modules(
    a: nn.Module,
    b: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    names: tuple[str, str] = ("A", "B"),
    wish: Wish | None = None,
) -> Analysis:
    """Compare two networks on all of these inputs: one tensor, or several by the names of arguments.

    Raises:
        InputError: a network cannot be traced, or they have no layer in common.
        NonFiniteError: a network makes NaN or infinity of the inputs.
    """
    given = Given(inputs if isinstance(inputs, Mapping) else (inputs,), "")
    networks = [
        _Network(name, Architecture(each.eval(), (), {}), dict(each.state_dict()))
        for name, each in zip(names, (a, b), strict=True)
    ]
    given = given._replace(told=f"{given.number:,} inputs")
    return _analysed(networks[0], networks[1], given, given.number, wish, Nobody())


def _network(source: Source, model: str | None) -> _Network:
    build: Callable[[], Architecture] = (
        (lambda: given_architecture(model)) if model else (lambda: architecture_of(source.folder, source.label, "cpu"))
    )
    architecture = build()
    names = names_of(architecture.model, source.headers())
    held = Joined(source, names.joined) if names.joined else source
    places = {name: place for name in architecture.model.state_dict() if (place := names.place(name)) is not None}
    return _Network(source.label, architecture, {name: read_tensor(held, place) for name, place in places.items()})


def _require_same_tokens(one: Source, two: Source) -> None:
    clash = vocabulary_clash(one.folder, two.folder, _ROWS) if one.folder and two.folder else None
    if clash:
        hint = "the same text is other numbers to each: there is nothing to compare."
        raise InputError(f"its vocabulary is not that of `{one.label}`: {clash}", hint=hint).inside(model=two.label)


def _analysed(a: _Network, b: _Network, given: Given, most: int, wish: Wish | None, watch: Watch) -> Analysis:
    from ligate.align.analysis.layer import Wish, compared

    batches = given.batches(BATCH, most)
    if not batches:
        raise InputError("no inputs to compare the networks on", hint="give at least one.")
    with one_processor():
        first, second = (_recorded(each, batches) for each in (a, b))
        common = [name for name in first if name in second]
        if not common:
            hint = f"{a.label} has {_some(first)}; {b.label} has {_some(second)}."
            raise InputError(f"{a.label} and {b.label} have no layer in common", hint=hint)
        left_out = _left_out(a.label, b.label, first, second)
        watch.begin("comparing layers", len(common))
        layers = []
        for name in common:
            if name not in left_out:
                wanted = (wish or Wish())._replace(rows=first[name].rows)
                layers.append(compared(name, first[name].values, second[name].values, wanted))
            watch.advance(1)
        watch.end()
    return Analysis(a.label, b.label, given.told, layers, left_out)


def _recorded(network: _Network, batches: Sequence[tuple[Tensor, ...] | dict[str, Tensor]]) -> dict[str, Recorded]:
    from ligate.align.analysis.reading import recorded
    from ligate.align.axes.graph import exported

    example: Any = batches[0]
    positional, named = ((), example) if isinstance(example, Mapping) else (example, {})
    try:
        with hushed():
            program = exported(network.architecture.model, positional, named)
        return recorded(program, network.weights, batches)
    except InputError as error:
        raise error.inside(model=network.label) from None


def _left_out(a: str, b: str, first: Mapping[str, Recorded], second: Mapping[str, Recorded]) -> dict[str, str]:
    found = {name: f"there is none in {b}" for name in first if name not in second}
    found |= {name: f"there is none in {a}" for name in second if name not in first}
    for name in first:
        if name in second and len(first[name].values) != len(second[name].values):
            found[name] = f"{first[name].rows} places per input in {a}, {second[name].rows} in {b}"
    return found


def _some(layers: Mapping[str, Recorded]) -> str:
    names = list(layers)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
