"""What a network says of inputs, and how that changes, to first order, when its weights go where another's are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Features = Callable[[nn.Module], "Tensor"]

_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Net(NamedTuple):
    """A network as lineage sees it.

    Args:
        says: weights by name -> features [N, ...] of the inputs that are asked.
        state: its own weights.
    """

    says: Callable[[State], Tensor]
    state: State


class Tangent(NamedTuple):
    """`features` of a network, and `change`: J d, its derivative along a difference d of weights."""

    features: Tensor
    change: Tensor


class _Told(nn.Module):
    """Lets `functional_call` put weights into a network that is asked by a function."""

    def __init__(self, network: nn.Module, features: Features) -> None:
        super().__init__()
        self.network = network
        self._features = features

    def forward(self) -> Tensor:
        return self._features(self.network)


def net(module: nn.Module, features: Features) -> Net:
    """A module with its own weights; numbers that are learned or kept (of batch norms), but no counters."""
    named = (*module.named_parameters(), *module.named_buffers())
    state = {name: value.detach() for name, value in named if value.is_floating_point()}
    return Net(says_of(module, features), state)


def says_of(module: nn.Module, features: Features) -> Callable[[State], Tensor]:
    """The features of a module as a function of its weights; the module itself stays as it is."""
    told = _Told(module, features)

    def says(state: State) -> Tensor:
        return functional_call(told, {f"network.{name}": value for name, value in state.items()}, ())

    return says


def reading(*inputs: Any, layer: str | None = None) -> Features:
    """Features: what a layer reads when the network is given these inputs.

    Args:
        layer: name of a module of the network; without one, the last matrix or convolution that is run, so that the
            features are those before the head. `""` is what the network itself says.

    Raises:
        InputError: the network has no such layer, or does not run it.
    """

    def features(module: nn.Module) -> Tensor:
        if layer == "":
            return _tensor(module(*inputs))
        read: list[Any] = []
        hooks = [
            each.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
            for each in _readers(module, layer)
        ]
        try:
            module(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        if not read:
            raise InputError("the network runs no such layer", where=layer or "features", hint="name one: `layer=`.")
        return _tensor(read[-1])

    return features


def tangent(network: Net, towards: State) -> Tangent:
    """What a network says, and J d with d the difference of `towards` from its weights, in one pass forward.

    Tensors that `towards` has not, or in another shape, stay where they are.

    Raises:
        InputError: an operation of the network has no forward derivative.
    """
    step = {name: _difference(value, towards.get(name)) for name, value in network.state.items()}
    try:
        with torch.no_grad(), _derivable():
            return Tangent(*derived(network.says, dict(network.state), step))
    except NotImplementedError as error:
        reason = str(error).partition("\n")[0]
        hint = "compare without it: `approximation='none'`."
        raise InputError(f"the step of fine-tuning cannot be derived: {reason}", where="trace", hint=hint) from error


def derived(function: Callable[[Any], Tensor], at: Any, along: Any) -> tuple[Tensor, Tensor]:
    """The value of a function, and its derivative in one direction, in one pass forward."""
    with warnings.catch_warnings():  # torch warns of a part of its own when it first loads forward derivatives
        warnings.simplefilter("ignore", DeprecationWarning)
        said: Any = jvp(function, (at,), (along,))
    return said[0], said[1]


@contextmanager
def _derivable() -> Generator[None]:
    """Without the fast kernels of attention, which have no forward derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def features_of(network: Net) -> Tensor:
    with torch.no_grad():
        return network.says(network.state)


def shared(one: State, other: State) -> list[str]:
    """Tensors that both have in one shape, in the order of the first."""
    return [name for name, value in one.items() if name in other and other[name].shape == value.shape]


def _difference(value: Tensor, other: Tensor | None) -> Tensor:
    if other is None or other.shape != value.shape:
        return torch.zeros_like(value)
    return other.to(value) - value


def _readers(module: nn.Module, layer: str | None) -> list[nn.Module]:
    if layer is None:
        return [each for each in module.modules() if isinstance(each, _MATRICES)]
    try:
        return [module.get_submodule(layer)]
    except AttributeError:
        known = ", ".join(name for name, _ in module.named_children())
        raise InputError("the network has no such layer", where=layer, hint=f"it has {known}.") from None


def _tensor(said: Any) -> Tensor:
    """Of an answer with several parts the first."""
    while not isinstance(said, torch.Tensor):
        said = next(iter(said.values() if isinstance(said, Mapping) else said))
    return said
