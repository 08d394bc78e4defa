"""What is measured of a network while it is asked examples: how much its answers depend on each weight, and which
inputs its linear layers get. Ordinary rules of merging take it as measured operands; whoever measures stores it.

Everything streams: the memory is the network, the statistic and one batch. Networks are asked in evaluation mode and
are left as they were.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import nn
from torch.func import functional_call

from ligate.core.errors import InputError

from .objectives import Batch, Told

if TYPE_CHECKING:
    from torch import Tensor

Ask = Callable[[Any], "Tensor | Told"]
"""inputs -> what the network says of them: logits [N, C], or [N, T, C] of T answers each, or `Told`."""

Mask = Callable[[Any], "Tensor | None"]
"""inputs -> [N, T], nonzero where there is no padding; None where all counts."""

How = Literal["exact", "sampled", "empirical", "batch_squared"]

_ROOM = 256_000_000  # bytes of gradients of examples side by side
_ANSWERS = 4096  # times C, beyond which nobody wants the exact expectation


class Measured(NamedTuple):
    """Tensors by the names of the weights they were measured for, and what a file of them says of itself."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def attention_mask(inputs: Any) -> Tensor | None:
    """What tokenizers call so."""
    return inputs.get("attention_mask") if isinstance(inputs, Mapping) else None


def fisher(module: nn.Module, ask: Ask, batches: Iterable[Batch], how: How = "exact", *, seed: int = 0) -> Measured:
    r"""The diagonal of the Fisher information of every parameter, the mean over all examples.

    .. math::
        F = \operatorname{E}_x \operatorname{E}_{y \sim p(y | x)}
            \Big[ \big( \partial \log p(y | x) / \partial \theta \big)^2 \Big]

    The squares are those of single examples, never of a batch. An example with several answers (tokens, say) counts
    them as independent of each other.

    Args:
        module: the network; `ask` may use it in any way, and with it other networks, which count as fixed.
        how: `exact` takes the expectation over all classes, one backward pass for each; `sampled` one answer drawn
            from the network; `empirical` the right ones of the batches (negative numbers are left out), which is
            another matrix. `batch_squared` is what MergeLM and FusionBench calculate: the square of the sum over
            classes and examples of a batch; it depends on the batches, and is not the Fisher information.
        seed: of the answers drawn.

    Shapes: each tensor that of its parameter; float32, or float64 where the parameter is. The unit is nats squared
        per unit of the parameter squared.
    Source: arXiv:2111.09832, section 3, and its public code, which has `exact`.
    Differs: that code knows one answer per example.

    Raises:
        InputError: there is no example, a batch lacks its right answers, the answers are a single number or do not
            depend on the parameters, or the information is not finite.
    """
    if how not in get_args(How):
        raise InputError(f"`how` is {how!r}", where="fisher", hint=f"it may be {', '.join(get_args(How))}.")
    sums = {name: torch.zeros_like(one, dtype=_wide(one)) for name, one in module.named_parameters()}
    squares, draw, examples = _Squares(module, ask, sums), torch.Generator().manual_seed(seed), 0
    with asked(module):
        for batch in batches:
            if how == "batch_squared":
                examples += squares.of_batch(batch.inputs)
            else:
                examples += squares.of_examples(batch.inputs, _answers(ask, batch, how, draw))
    _require(examples, "fisher")
    if not any(bool(one.any()) for one in sums.values()):
        text = "the answers do not depend on the network's parameters"
        raise InputError(text, where="fisher", hint="ask the module itself, and without `torch.no_grad`.")
    found = {name: one.detach() / examples for name, one in sums.items()}
    return measured(module, "fisher", found, examples, how=how, seed=str(seed))


def grams(module: nn.Module, ask: Ask, batches: Iterable[Batch], *, mask: Mask = attention_mask) -> Measured:
    r"""The Gram matrix of the inputs of every linear layer, :math:`G = X^\top X / N` over N inputs.

    Layers of torch (`nn.Linear`) and those of GPT-2 that transformers call Conv1D. Rows of padding do not count: `mask`
    tells them, for inputs [N, T, in] of a layer and for [N T, in]; inputs of other shapes count whole.

    Shapes: [in, in] for each weight, by its name; float32, or float64 where the weight is.
    Source: arXiv:2212.09849, section 3.2, and its public code.
    Differs: that code counts the padding.

    Raises:
        InputError: there is no example, the module has no linear layer, or a matrix is not finite.
    """
    layers = linear_layers(module)
    if not layers:
        raise InputError("the network has no linear layer", where="grams")
    gathered, examples = Gathered(layers, mask), 0
    with asked(module), torch.no_grad(), gathered:
        for batch in batches:
            gathered.before(batch.inputs)
            told = ask(batch.inputs)
            examples += len(told.logits if isinstance(told, Told) else told)
    _require(examples, "grams")
    return measured(module, "grams", gathered.means(), examples)


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """By the names of their weights; a weight that two layers share stands there once."""
    names = {id(one): name for name, one in module.named_parameters()}
    layers = (one for one in module.modules() if isinstance(one, nn.Linear) or type(one).__name__ == "Conv1D")
    return {names[id(one.weight)]: one for one in layers if id(one.weight) in names}


class Enough(Exception):
    """No error, the way out of a network that need not be asked to its end."""


class Gathered:
    """The sums of x^T x of some layers while it is entered; `calls` of them later it raises `Enough`."""

    def __init__(self, layers: Mapping[str, nn.Module], mask: Mask, calls: int | None = None) -> None:
        self._layers, self._mask, self._calls = layers, mask, calls
        self._sums: dict[str, Tensor] = {}
        self._counts = dict.fromkeys(layers, 0)
        self._kept: Tensor | None = None
        self._left = calls

    def __enter__(self) -> Gathered:
        self._hooks = [one.register_forward_pre_hook(self._hook(name)) for name, one in self._layers.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def before(self, inputs: Any) -> None:
        """These are asked next."""
        self._kept, self._left = self._mask(inputs), self._calls

    def means(self) -> dict[str, Tensor]:
        """Of the layers that were asked at all."""
        return {name: one / max(self._counts[name], 1) for name, one in self._sums.items()}

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def gather(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = _rows(inputs[0].detach(), self._kept)
            x = x.to(_wide(x))
            with torch.autocast(x.device.type, enabled=False):  # sums of many products want all their digits
                self._sums[name] = self._sums[name].addmm_(x.T, x) if name in self._sums else x.T @ x
            self._counts[name] += len(x)
            if self._left is not None:
                self._left -= 1
                if not self._left:
                    raise Enough

        return gather


def _rows(x: Tensor, kept: Tensor | None) -> Tensor:
    """[*, in] -> [rows, in], without padding where the mask fits."""
    flat = x.reshape(-1, x.shape[-1])
    if kept is None or kept.ndim != 2:
        return flat
    same = x.shape[:-1] in (kept.shape, (kept.numel(),)) and x.ndim > 1
    return flat[kept.reshape(-1).to(flat.device) != 0] if same else flat


class _Squares:
    """Adds squared gradients to `sums`."""

    def __init__(self, module: nn.Module, ask: Ask, sums: Mapping[str, Tensor]) -> None:
        self._ask, self._sums = ask, sums
        self._parameters = dict(module.named_parameters())
        self._whole = _Whole(module, ask)
        nbytes = sum(one.numel() * one.element_size() for one in self._parameters.values())
        self._abreast = max(1, _ROOM // max(nbytes, 1))  # examples whose gradients fit side by side

    def of_examples(self, inputs: Any, right: Tensor | None) -> int:
        """Of each example alone; `right` [N, T] are its answers, None weighs all. How many examples there are."""
        number, step = count(inputs), self._abreast
        for start in range(0, number, step):
            some = slice(start, min(start + step, number))
            if self._abreast > 1 and self._side_by_side(_part(inputs, some), None if right is None else right[some]):
                continue
            self._abreast = 1  # what cannot be mapped over once cannot be the next time
            for one in (slice(at, at + 1) for at in range(some.start, some.stop)):
                self._alone(_part(inputs, one), None if right is None else right[one])
        return number

    def of_batch(self, inputs: Any) -> int:
        logp = _log_p(self._ask(inputs))
        self._add(self._gradients((logp.detach().exp().sqrt() * logp).sum(), None))
        return len(logp)

    def _alone(self, inputs: Any, right: Tensor | None) -> None:
        """One example, by ordinary gradients."""
        logp = _log_p(self._ask(inputs))
        for direction in _directions(logp, right):
            self._add(self._gradients(logp, direction))

    def _gradients(self, told: Tensor, direction: Tensor | None) -> Sequence[Tensor | None]:
        if not told.requires_grad:
            return [None] * len(self._sums)
        weights = list(self._parameters.values())
        return torch.autograd.grad(told, weights, direction, retain_graph=direction is not None, allow_unused=True)

    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        for total, slope in zip(self._sums.values(), gradients, strict=True):
            if slope is not None:
                one = slope.to(total.dtype)
                total.addcmul_(one, one)

    def _side_by_side(self, inputs: Any, right: Tensor | None) -> bool:
        """Several examples at once; False for a network or inputs that cannot be mapped over."""
        parameters = {f"module.{name}": one.detach() for name, one in self._parameters.items()}

        def squares(example: Any, answers: Tensor | None) -> dict[str, Tensor]:
            single = _mapped(example, lambda one: one.unsqueeze(0))
            told: Any = torch.func.vjp(lambda known: functional_call(self._whole, known, (single,)), parameters)
            logp, back = told
            total = {name: torch.zeros_like(one) for name, one in parameters.items()}
            for direction in _directions(logp, answers):
                (each,) = back(direction)
                total = {name: one + each[name].square() for name, one in total.items()}
            return total

        axes = (0, None if right is None else 0)
        try:
            with warnings.catch_warnings():  # what it cannot map over it does one after the other, which is no loss
                warnings.filterwarnings("ignore", message="There is a performance drop")
                found = torch.func.vmap(squares, in_dims=axes)(_mapped(inputs, lambda one: one), right)
        except (RuntimeError, ValueError, TypeError, NotImplementedError):
            return False  # one by one it works, or tells what is wrong
        for name, one in found.items():
            total = self._sums[name.removeprefix("module.")]
            total.add_(one.to(total.dtype).sum(0))
        return True


class _Whole(nn.Module):
    """All that is asked, as one function of the module's parameters."""

    def __init__(self, module: nn.Module, ask: Ask) -> None:
        super().__init__()
        self.module = module
        self._ask = [ask]  # in a list: it may be a module itself, and has to stay one that is not a part of this

    def forward(self, inputs: Any) -> Tensor:
        return _log_p(self._ask[0](inputs))


def _log_p(told: Tensor | Told) -> Tensor:
    """[answers, C]"""
    logits = told.logits if isinstance(told, Told) else told
    if logits.ndim < 2 or logits.shape[-1] < 2:
        text = f"the network answers with a tensor of shape {list(logits.shape)}"
        raise InputError(text, where="fisher", hint="it takes logits [N, C] of at least two classes.")
    return logits.reshape(-1, logits.shape[-1]).log_softmax(-1)


def _directions(logp: Tensor, right: Tensor | None) -> Iterator[Tensor]:
    """Of which combinations of log p [T, C] the squared gradients add up to the information."""
    classes = torch.arange(logp.shape[1], device=logp.device)
    if right is not None:
        yield (classes == right.reshape(-1, 1).to(logp.device)).to(logp.dtype)
        return
    if logp.numel() > _ANSWERS:
        text = f"{logp.numel():,} answers and classes of one example"
        raise InputError(text, where="fisher", hint="take `how: sampled`: one answer instead of the expectation.")
    root = logp.detach().exp().sqrt()
    for at in range(logp.shape[0]):
        row = (torch.arange(logp.shape[0], device=logp.device) == at).to(logp.dtype)[:, None]
        for number in range(logp.shape[1]):
            yield root * row * (classes == number).to(logp.dtype)


def _answers(ask: Ask, batch: Batch, how: How, draw: torch.Generator) -> Tensor | None:
    """[N, T]: the answers whose gradients are squared; None: all of them."""
    if how == "exact":
        return None
    if how == "empirical":
        if batch.right is None:
            raise InputError("a batch has no labels", where="fisher", hint="`exact` and `sampled` need none.")
        return batch.right.reshape(count(batch.inputs), -1)
    with torch.no_grad():
        p = _log_p(ask(batch.inputs)).double().exp().cpu()
    return torch.multinomial(p, 1, generator=draw).reshape(count(batch.inputs), -1)


def count(inputs: Any) -> int:
    """How many examples there are: the first axis of every tensor."""
    if isinstance(inputs, Mapping):
        return min((count(one) for one in inputs.values()), default=0)
    if isinstance(inputs, tuple):
        return min((count(one) for one in inputs), default=0)
    if isinstance(inputs, (torch.Tensor, list)):
        return len(inputs)
    text = f"inputs of type {type(inputs).__name__} cannot be taken one by one"
    raise InputError(text, where="fisher", hint="give tensors or lists, or tuples and mappings of them.")


def _part(inputs: Any, some: slice) -> Any:
    return _mapped(inputs, lambda one: one[some])


def _mapped(inputs: Any, change: Callable[[Any], Any]) -> Any:
    """The same tuple or mapping of changed tensors and lists."""
    if isinstance(inputs, Mapping):
        return {name: _mapped(one, change) for name, one in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_mapped(one, change) for one in inputs)
    return change(inputs)


@contextmanager
def asked(module: nn.Module) -> Generator[None]:
    """In evaluation mode, every parameter with a gradient; afterwards as it was."""
    modes = {one: one.training for one in module.modules()}
    wishes = {one: one.requires_grad for one in module.parameters()}
    module.eval().requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for one, mode in modes.items():
            one.training = mode
        for one, wish in wishes.items():
            one.requires_grad_(wish)


def _wide(one: Tensor) -> torch.dtype:
    return torch.promote_types(one.dtype, torch.float32)


def _require(examples: int, where: str) -> None:
    if not examples:
        raise InputError("there is no example", where=where, hint="give at least one batch.")


def measured(module: nn.Module, kind: str, found: Mapping[str, Tensor], examples: int, **more: str) -> Measured:
    """With what a file of it says; also under the other names of tied weights, since checkpoints may hold any."""
    for name, one in found.items():
        if not bool(one.isfinite().all()):
            hint = "are the network's answers finite? 16-bit networks are measured better in float32."
            raise InputError("what was measured is not finite", where=f"{kind}, tensor {name}", hint=hint)
    first = {id(one): name for name, one in module.named_parameters()}
    names = {name: first[id(one)] for name, one in module.named_parameters(remove_duplicate=False)}
    tensors = {name: found[one].contiguous() for name, one in names.items() if one in found}
    return Measured(tensors, {"kind": kind, **more, "examples": str(examples), "model": _digest(module)})


def _digest(module: nn.Module) -> str:
    """Of the parameters that were measured, by name."""
    state = hashlib.blake2b(digest_size=16)
    for name, one in module.named_parameters():
        state.update(f"{name} {one.dtype} {list(one.shape)}\n".encode())
        state.update(one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
