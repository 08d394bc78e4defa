"""A recipe to start from, with a comment on every line that may need one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ligate.core.method import Card
from ligate.core.params import Param

from .nodes import plain

_COLUMN = 44
_PLACES = {"base": "./base", "a": "./a", "b": "./b"}


def commented_example(card: Card, sources: Mapping[str, str] | None = None) -> str:
    """A valid recipe for one method, every parameter at its default. `sources`: label -> path, the base first."""
    uses_base = card.base != "unused"
    stacks = card.models == (1, 1) and not uses_base  # one model at a time: worth while for slices of several
    named = dict(sources or _PLACES)
    if sources is None and not uses_base:
        del named["base"]
    labels = tuple(named)
    models = labels[1:] if uses_base else labels
    if sources is None and not stacks:
        models = models[: card.models[1]]
    used = (*(labels[:1] if uses_base else ()), *models)
    lines = [
        "# Check it with `ligate check RECIPE`, run it with `ligate merge RECIPE OUT`.",
        _line("sources:", "a folder, a file, or org/name@revision on the Hub"),
        *(f"  {_text(label)}: {_text(named[label])}" for label in used),
        _line("  # tuned: {path: ./base, adapter: ./lora}", "a LoRA adapter is applied while reading"),
        "",
        _line("merge:", card.summary),
        _line(f"  method: {card.id}", "`ligate methods` lists all"),
        *([_line(f"  base: {_text(used[0])}", "the model that the others were made from")] if uses_base else []),
        *(_slices(models) if stacks and len(models) > 1 else [f"  models: [{', '.join(map(_text, models))}]"]),
        *_parameters(card, models),
        "",
        _line("output:", "all of this may be left out"),
        _line("  shard_size: 5GB", "a larger result is written in several files"),
        _line(f"  donor: {_text(used[0])}", "gives config, tokenizer and code"),
        _line("  # dtype: bfloat16", f"default: as in {used[0]}"),
        _line('  # drop: ["v_head.*"]', "tensors to leave out"),
        "",
        _line("seed: 0", "of methods that draw random numbers"),
    ]
    return "\n".join(lines) + "\n"


def _slices(models: Sequence[str]) -> list[str]:
    head = _line("  slices:", "one after another: layers first to end - 1")
    return [head, *(f"    - layers: {{{_text(label)}: [{4 * n}, {4 * n + 8}]}}" for n, label in enumerate(models))]


def _parameters(card: Card, models: Sequence[str]) -> list[str]:
    if not card.params:
        return []
    head = _line("  parameters:", "each may be left out; these are the defaults")
    return [head, *(_line(f"    {name}: {_value(param)}", _told(param, models)) for name, param in card.params.items())]


def _value(param: Param) -> str:
    if not param.required:
        return _written(param.default)
    low = param.limit.low if param.limit else 0.0
    return _written(param.choices[0] if param.choices else param.kind(max(low, 0.5)))


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else _text(value) if isinstance(value, str) else f"{value}"


def _text(text: str) -> str:
    """Quoted where YAML would read something else."""
    simple = all(sign.isalnum() or sign in "./_-+@~" for sign in text) and text[:1] not in ("-", "@", "~", "")
    return text if simple and isinstance(plain(text), str) else "'" + text.replace("'", "''") + "'"


def _told(param: Param, models: Sequence[str]) -> str:
    told: list[str] = []
    if param.choices:
        told.append(" or ".join(param.choices))
    elif param.limit and str(param.limit) != "a finite number":
        told.append(str(param.limit))
    if param.kind is float and not param.choices:
        told.append("over the layers: [0.2, 0.8]")
    if param.per_model and len(models) > 1:
        told.append(f"by model: {{{models[0]}: ..., {models[1]}: ...}}")
    return "; ".join(told)


def _line(text: str, comment: str = "") -> str:
    return f"{text:<{_COLUMN}} # {comment}" if comment else text
