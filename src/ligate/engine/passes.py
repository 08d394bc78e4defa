"""The passes of a rule that works on tensors: cast a block, then observe it, apply the rule to it, or copy it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from ligate.core import kernels
from ligate.core.draw import uniform
from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.method import Site, Stat
from ligate.core.tensors import MERGEABLE

from .blocks import Span
from .job import Job
from .stream import Terms, blocks, broken_input, broken_result, new_hashers, note_inputs, produce
from .workspace import Block, Workspace

if TYPE_CHECKING:
    from torch import Tensor


def observe_segment(job: Job, stat: Stat, state: Any, segment: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over one segment."""
    hashers = new_hashers(job, segment, terms)
    for span, block in _checked_blocks(job, segment, space, hashers, terms):
        state = _observe(job, stat, state, span, block, terms.device)
    note_inputs(job, segment, hashers)
    return state


def observe_sample(job: Job, stat: Stat, state: Any, elements: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over a few short pieces of the tensor."""
    for span, block in blocks(job, job.cut.glimpses(elements), space, None, terms):
        _cast(job, span, block, check=False)
        state = _observe(job, stat, state, span, block, terms.device)
    return state


def apply_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The rule over one segment; its result is rounded once and written."""
    hashers = new_hashers(job, segment, terms)
    rule, known = _rule(job), {**job.values, **job.out.params}
    check = not terms.allow_nonfinite

    def fill(span: Span, block: Block) -> None:
        base, tuned, measured = _operands(job, block, terms.device)
        numbers = _sound(job, _back(rule(span, base, tuned, **known, **measured), terms.device), block)
        if not kernels.narrow(numbers, block.result, check=check) and check:
            raise broken_result(job, span, block)

    produce(job, segment, _checked_blocks(job, segment, space, hashers, terms), hashers, fill, terms)


def copy_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The first operand as it is; any other operand must be equal to it."""
    hashers = new_hashers(job, segment, terms)
    check = job.out.dtype in MERGEABLE and not terms.allow_nonfinite

    def fill(span: Span, block: Block) -> None:
        _check_equal(job, span, block)
        if block.stored[0].dtype == block.result.dtype:
            block.result.copy_(block.stored[0])
        else:
            kernels.narrow(block.stored[0], block.result, check=False)
        if check and not kernels.all_finite(block.result):
            raise broken_result(job, span, block)

    found = blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms)
    produce(job, segment, found, hashers, fill, terms)


def _sound(job: Job, numbers: Any, block: Block) -> Tensor:
    """What a rule returned, if it is what a rule has to return (a user's own may err)."""
    due, found = _kind(block.rows[0]), _kind(numbers)
    if found != due:
        raise RecipeError(
            f"the rule returned {found} where {due} is due",
            where=f"{job.out.method}, tensor {job.out.name}",
            hint="a rule returns one number for each element of its block, of the kind it was given.",
        )
    return numbers.contiguous()


def _kind(value: Any) -> str:
    """`torch.float32 (5,)`, and whatever is unusual about it."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    layout = "" if value.layout == torch.strided else f"{value.layout} "
    device = "" if value.device.type == "cpu" else f" on {value.device}"
    return f"{layout}{value.dtype} {tuple(value.shape)}{device}"


def _rule(job: Job) -> Callable[..., Any]:
    """The method's function, told where it stands if it asks."""
    if job.card is None:
        raise LigateError("a tensor without a method has no rule", where=job.out.name)
    card = job.card

    def rule(span: Span, base: Tensor | None, tuned: Tensor, **known: Any) -> Any:
        if card.takes_site:
            return card.function(base, tuned, site=_site(job, span), **known)
        return card.function(base, tuned, **known)

    return rule


def _sent(job: Job, numbers: Tensor, device: str | None) -> Tensor:
    """To where the rule calculates, if it needs a whole tensor."""
    whole = job.card is not None and job.card.reach == "tensor"
    return numbers.to(device) if device is not None and whole else numbers


def _back(numbers: Any, device: str | None) -> Any:
    return numbers.cpu() if device is not None and isinstance(numbers, torch.Tensor) else numbers


def _observe(job: Job, stat: Stat, state: Any, span: Span, block: Block, device: str | None) -> Any:
    base, tuned, measured = _operands(job, block, device)
    return stat.observe(state, base, tuned, site=_site(job, span), **job.values, **measured)


def _operands(job: Job, block: Block, device: str | None) -> tuple[Tensor | None, Tensor, dict[str, Any]]:
    """What a rule is called with: the base, the models, and by keyword what was measured."""
    numbers = _sent(job, block.stacked(0, job.models), device)
    base, tuned = (numbers[0], numbers[1:]) if job.has_base else (None, numbers)
    return base, tuned, _measured(job, block, device)


def _measured(job: Job, block: Block, device: str | None) -> dict[str, Any]:
    if job.card is None or not job.card.measured:
        return {}
    found: dict[str, Any] = dict.fromkeys(job.card.measured)
    at = job.models
    for keyword, operands in job.out.measured.items():
        if job.card.reach == "tensor":
            each = range(at, at + len(operands))
            tensors: Any = tuple(_sent(job, block.rows[i], device).view(job.headers[i].shape) for i in each)
        else:
            tensors = block.stacked(at, len(operands))
        found[keyword] = tensors if job.card.measured[keyword] == "model" else tensors[0]
        at += len(operands)
    return found


def _site(job: Job, span: Span) -> Site:
    labels = [source.label for source in job.sources[job.has_base :]]

    def noise(model: int, step: int = 0) -> Tensor:
        numbers = uniform(job.seed, job.out.name, labels[model], step, span.start, span.stop - span.start)
        drawn = torch.from_numpy(numbers)
        return drawn if job.compute == "F32" else drawn.double()

    return Site(job.out.name, job.out.shape, span.start, noise)


def _checked_blocks(
    job: Job, segment: int, space: Workspace, hashers: list[Any] | None, terms: Terms
) -> Iterator[tuple[Span, Block]]:
    """The numbers of a segment's blocks; that they are finite is checked the first time they are read."""
    check = not job.checked[segment] and not terms.allow_nonfinite
    for span, block in blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms):
        _cast(job, span, block, check=check)
        yield span, block
    job.checked[segment] = True


def _cast(job: Job, span: Span, block: Block, *, check: bool) -> None:
    for operand, stored in enumerate(block.stored):
        if not kernels.widen(stored, block.rows[operand], check=check) and check:
            raise broken_input(job, span, operand, block) or broken_result(job, span, block)


def _check_equal(job: Job, span: Span, block: Block) -> None:
    first = block.bytes_in[0]
    for source, operand, data in list(zip(job.sources, job.out.operands, block.bytes_in, strict=True))[1:]:
        if data != first:
            raise InputError(
                f"differs between {job.sources[0].label} and {source.label} and holds no floating-point weights",
                where=f"{source.place(operand.name)}, tensor {operand.name}",
                hint="leave it out with `drop:`, or make the models agree on it.",
            )
