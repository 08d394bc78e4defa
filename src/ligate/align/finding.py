"""From two checkpoints to an alignment: what can move is traced, units are matched, what it helped is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError, RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source

from .alignment import Alignment, Made, shape_digest
from .architecture import Architecture, hushed
from .maps import AxisMap, Group, mapped
from .stored import Joined, Names, Weights, names_of, renamed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .axes.graph import Symmetries
    from .running import Inputs

ALIKE = 0.9
"""Cosine of all matrices from which on two networks have the same coordinates; independent ones are near 0."""

_BY_HAND = "give the groups by hand: `--groups FILE`."


class Network(NamedTuple):
    """A checkpoint of which it is known what can be moved.

    Args:
        source: the checkpoint, with one tensor where the network has one and the checkpoint parts.
        stored: the checkpoint as it is.
        groups: on stored tensors.
        left: what is known of groups that stay in place although the network would let them move.
        traced: None where the groups were given by hand.
    """

    source: Source
    stored: Source
    groups: tuple[Group, ...]
    names: Names
    left: tuple[str, ...] = ()
    traced: Symmetries | None = None
    architecture: Architecture | None = None


class Task(NamedTuple):
    """What a method is given. The weights of both networks are called by the names that B stores them under.

    Args:
        batches: inputs of the shapes with which the networks were traced, for methods that run them.
    """

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    network_a: Network
    network_b: Network
    seed: int = 0
    starts: int = 3
    batches: Sequence[Inputs] = ()


Method = Callable[[Task], Sequence[AxisMap]]


def by_weights(task: Task) -> Sequence[AxisMap]:
    from .matching import weight_matching

    groups = task.network_b.groups
    return weight_matching(task.a, task.b, groups, seed=task.seed, starts=task.starts).maps(groups)


def by_transport(task: Task) -> Sequence[AxisMap]:
    from .transport import ot_fusion

    return ot_fusion(task.a, task.b, task.network_a.groups, task.network_b.groups).maps


def by_activations(task: Task) -> Sequence[AxisMap]:
    """Runs the trace of B, which calls weights by the names of the network."""
    from .activation_matching import activation_matching

    traced, names = task.network_b.traced, task.network_b.names
    if traced is None:
        hint = "trace the network (`--model`), or match by `weights`."
        raise InputError("groups by hand say nothing of what units do", where="--method activations", hint=hint)
    if not task.batches:
        raise InputError("there are no inputs", where="--method activations", hint="give some hundreds: `--data FILE`.")
    places = {name: names.place(name) or name for name in traced.program.state_dict}
    own = {name: place for name, place in places.items() if place in task.b}
    a, b = ({name: held[place] for name, place in own.items()} for held in (task.a, task.b))
    maps = activation_matching(traced, a, b, task.batches).maps(task.network_b.groups)
    return [
        each._replace(scales={names.place(key) or key: value for key, value in each.scales.items()}) for each in maps
    ]


METHODS: Mapping[str, Method] = {"weights": by_weights, "activations": by_activations, "transport": by_transport}
"""By the name that `--method` and recipes use. Another one is another line here."""

NEEDS_DATA = ("activations",)


def traced_network(stored: Source, architecture: Architecture) -> Network:
    """What the graph of a network says of its checkpoint.

    Raises:
        InputError: it cannot be traced, or nothing of it can be moved.
    """
    from .axes.graph import symmetries

    try:
        with hushed():
            found = symmetries(architecture.model, architecture.inputs, architecture.options)
    except InputError as error:
        error.hint = f"{error.hint} Or {_BY_HAND}"
        raise error.inside(model=stored.label) from None
    names = names_of(architecture.model, stored.headers())
    _require_shapes(architecture.model, names, stored)
    groups, left = renamed(found.groups, names)
    if not groups:
        why = f"; torch knows {', '.join(found.unknown)}, which are not known here" if found.unknown else ""
        lacking = f"; {left[0][1]!r} is not stored" if left else ""
        text = f"no units were found that could be moved{lacking}{why}"
        raise InputError(text, where=f"model {stored.label}", hint=_BY_HAND)
    joined = {name: parts for name, parts in names.joined.items() if _lies_on(groups, name)}
    names = names._replace(joined=joined)
    source = Joined(stored, joined) if joined else stored
    return Network(source, stored, tuple(groups), names, tuple(_notes(found, left)), found, architecture)


def given_network(stored: Source, groups: Sequence[Group]) -> Network:
    """The same for groups that somebody wrote down: tensors are called as they are stored."""
    names = Names({name: name for name in stored.headers()})
    return Network(stored, stored, tuple(groups), names)


def found_alignment(
    a: Network, b: Network, method: str, *, seed: int = 0, starts: int = 3, batches: Sequence[Inputs] = ()
) -> Alignment:
    """Maps that bring B into the coordinates of A, by one of the METHODS.

    Raises:
        RecipeError: there is no such method.
        InputError: the networks do not fit together.
    """
    if method not in METHODS:
        raise RecipeError(f"there is no method `{method}`", where="align", hint=nearest(method, METHODS))
    weights_a, weights_b = weights_of_a(a, b), Weights(b.source, {name: name for name in b.source.headers()})
    try:
        maps = tuple(METHODS[method](Task(weights_a, weights_b, a, b, seed, starts, batches)))
    except ImportError as error:
        hint = "pip install 'ligate[align]'"
        raise InputError(f"{error.name} is needed, and it is not installed here", where=method, hint=hint) from error
    before, after = agreement(weights_a, weights_b, maps)
    digests = shape_digest(a.stored.headers()), shape_digest(b.stored.headers())
    return Alignment(maps, Made(method, {"seed": seed, "starts": starts}, *digests, before, after), b.names.joined)


def agreement(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], maps: Sequence[AxisMap]
) -> tuple[float | None, float | None]:
    """Cosine between the matrices of both on which some map lies, as they are and after the maps of B.

    Tensor by tensor, in float32. Vectors are left out: weights of norms are near 1 in every network. None where widths
    differ (before), or where all weights are zero.
    """
    places = [place.tensor for each in maps for place in each.group.places]
    touched = [name for name in dict.fromkeys(places) if a[name].ndim > 1]
    before, after = _Cosine(), _Cosine()
    for name in touched:
        one, other = a[name].float(), b[name].float()
        before.add(one, other)
        after.add(one, mapped(name, other, maps))
    return before.value, after.value


def measured(a: Source, b: Source, alignment: Alignment) -> Alignment:
    """A saved alignment with `before` and `after` of these two models; None where A calls its tensors otherwise."""
    sources = [Joined(one, alignment.joined) if _holds_parts(one, alignment) else one for one in (a, b)]
    weights = [Weights(one, {name: name for name in one.headers()}) for one in sources]
    lying = {place.tensor for each in alignment.maps for place in each.group.places}
    known = all(lying <= set(one) for one in weights)
    before, after = agreement(weights[0], weights[1], alignment.maps) if known else (None, None)
    return alignment._replace(made=alignment.made._replace(before=before, after=after))


def _holds_parts(source: Source, alignment: Alignment) -> bool:
    parts = [part for joined in alignment.joined.values() for part in joined.names]
    return bool(parts) and all(part in source.headers() for part in parts)


class _Cosine:
    def __init__(self) -> None:
        self._products = [0.0, 0.0, 0.0]
        self._defined = True

    def add(self, a: Tensor, b: Tensor) -> None:
        if a.shape != b.shape:
            self._defined = False
            return
        a, b = a.reshape(-1), b.reshape(-1)
        for number, (x, y) in enumerate(((a, b), (a, a), (b, b))):
            self._products[number] += float(x @ y)

    @property
    def value(self) -> float | None:
        both, one, other = self._products
        norms = math.sqrt(one) * math.sqrt(other)
        return both / norms if self._defined and norms > 0 and math.isfinite(norms) else None


def _require_shapes(model: nn.Module, names: Names, stored: Source) -> None:
    headers = stored.headers()
    for name, value in model.state_dict().items():
        place = names.stored.get(name)
        if place is not None and tuple(value.shape) != headers[place].shape:
            text = f"has the shape {list(headers[place].shape)}, in the network it is {list(value.shape)}"
            hint = "the network is another one: see config.json or `--model`; for other widths, `--groups FILE`."
            raise InputError(text, hint=hint).inside(tensor=place, model=stored.label)


def weights_of_a(a: Network, b: Network) -> Weights:
    """A's tensors by B's names. Both may store tied weights once or twice, and under older or newer names."""
    lying = dict.fromkeys(place.tensor for group in b.groups for place in group.places)
    scales = dict.fromkeys(place.scale for group in b.groups for place in group.places if place.scale)
    own = {outer: inner for inner, outer in b.names.stored.items()}
    held = a.source.headers()
    found: dict[str, str] = {}
    for name in (*lying, *scales, *b.source.headers()):
        place = a.names.place(own.get(name, name)) or name
        if place in held:
            found[name] = place
        elif name in lying or name in scales:
            text = f"has no tensor {name!r}, on which units of {b.stored.label} lie"
            hint = "only networks of one architecture and depth can be aligned."
            raise InputError(text, where=f"model {a.stored.label}", hint=hint)
    return Weights(a.source, found)


def _lies_on(groups: Sequence[Group], name: str) -> bool:
    return any(place.tensor == name for group in groups for place in group.places)


def _notes(found: Any, left: Sequence[tuple[Group, str]]) -> list[str]:
    told = [f"units of {group.name} stay: {name} is not stored" for group, name in left]
    if found.unknown:
        told.append(f"operations that are not known here may hide more that could move: {', '.join(found.unknown)}")
    return told
