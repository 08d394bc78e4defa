"""A commented recipe to start from."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ligate.core.errors import StorageError
from ligate.core.method import Card
from ligate.core.params import Param
from ligate.io.ranges import cannot_write
from ligate.methods import _catalogue

from .methods import kind, limits

_HEAD = """\
# {summary}
# `ligate methods {name}` shows the equation. `ligate check` says what is wrong with a recipe and what it costs,
# `ligate merge RECIPE OUT` runs it.

sources:                  # a folder, a file, or org/name@revision on the Hub
"""
_BASE = "  base: ./base            # the model that the others were trained from\n"
_DIFFERENT = """\
  # tuned: {path: ./base, adapter: ./lora}      # a LoRA adapter, laid over its base
  # other: {path: ./c, strip_prefix: module.}   # where only this keeps its tensor names apart from the others'
"""
_OUTPUT = """
output:
  # dtype: bfloat16       # default: as in `{giver}`
  # donor: {giver}  # whose config and tokenizer the result gets
  # tokenizer: union      # where the models know different tokens; or one model's: tokenizer: {giver}
  # shard_size: 5GB
  # drop: ["*.inv_freq"]  # tensors left out on request, as by `--drop`

# seed: 0                 # of methods that draw random numbers
"""


def recipe_text(method: str = "ties") -> str:
    """A recipe for one method in which every parameter stands with its default, meaning and limits.

    Raises:
        RecipeError: there is no such method.
    """
    card = _catalogue.load(method)
    base = card.base == "required"
    models = _models(card)
    lines = [f"merge:  # {card.title}", f"  method: {card.id.rpartition('/')[2]}"]
    lines += ["  base: base"] if base else []
    lines += [f"  models: [{', '.join(models)}]"]
    lines += _measured(card, models)
    lines += ["  parameters:", *(f"    {_line(param)}" for param in card.params.values())] if card.params else []
    lines += _ways(card, models)
    sources = (_BASE if base else "") + "".join(f"  {name}: ./{name}\n" for name in models) + _DIFFERENT
    head = _HEAD.format(summary=card.summary, name=card.id.rpartition("/")[2])
    return f"{head}{sources}\n" + "\n".join(lines) + "\n" + _OUTPUT.format(giver="base" if base else models[0])


def init(path: str | PathLike[str] = "recipe.yaml", *, method: str = "ties") -> Path:
    """Write the recipe; a file that is there already is never replaced."""
    target = Path(path)
    text = recipe_text(method)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StorageError("is there already", where=str(target), hint="choose another name.") from None
    except OSError as error:
        raise cannot_write(target, error) from None
    return target


def _line(param: Param) -> str:
    value = 1.0 if param.required else param.default
    spoken = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    about = ", ".join(filter(None, (kind(param), limits(param), "one for all models or one each" * param.per_model)))
    return f"{param.name}: {spoken}".ljust(25) + f" # {about}"


def _measured(card: Card, models: list[str]) -> list[str]:
    """Where the tensors lie that the method takes besides the models."""
    lines: list[str] = []
    for name, whose in card.measured.items():
        each = ", ".join(f"{model}: ./{model}.{name}" for model in models)
        place = f"{{{each}}}" if whose == "model" else f"./{name}.safetensors"
        lines.append(f"    {name}: {place}".ljust(25) + " # files of tensors by the names of the weights")
    return ["  measured:", *lines] if lines else []


def _models(card: Card) -> list[str]:
    """Two where the method can do with two."""
    fewest, most = card.models
    count = max(fewest, 2) if most is None else min(max(fewest, 2), most)
    return [chr(ord("a") + number) for number in range(count)]


def _ways(card: Card, models: list[str]) -> list[str]:
    """How else the first numeric parameter could be given."""
    numeric = [param for param in card.params.values() if param.kind is float and not param.choices]
    if not numeric:
        return []
    name = numeric[0].name
    lines = ["    # A number can also be given", f"    #   over the layers, first to last:  {name}: [0.2, 0.8]"]
    if numeric[0].per_model:
        lines.append(f"    #   by model:                        {name}: {{{', '.join(f'{m}: 0.5' for m in models)}}}")
    lines.append(f"    #   by tensor name, first match wins: {name}: [{{match: '*.mlp.*', value: 0.3}}, 0.5]")
    return lines
