"""`ligate merge RECIPE OUT`, `ligate merge --method ID --base B A C -o OUT`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ligate.core.errors import RecipeError

from .options import Drop, Dtype, Json, Memory, Overwrite, Plugin, Quiet, ShardSize, StripPrefix, Threads, Tokenizer
from .progress import watcher
from .show import duration, say, say_json, size

if TYPE_CHECKING:
    from ligate.recipe.schema import Recipe
    from ligate.verbs.execute import Merged


def merge(
    paths: Annotated[
        list[str], typer.Argument(metavar="RECIPE OUT | MODEL...", help="A recipe and the output folder.")
    ],
    method: Annotated[
        str | None, typer.Option(metavar="ID", help="Merge the MODELs by this method, without a recipe.")
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="The model the others were trained from.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="OUT", help="The output folder.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter: density=0.2, weight=0.3,0.7. Repeatable."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="W", help="Short for --set weight=...; repeat it for one per model.")
    ] = None,
    blocks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N,N,...",
            help="A number for each block of an image model's U-Net: 19 or 25, or one more with BASE in front.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of methods that draw random numbers. Default: the recipe's, or 0.")
    ] = None,
    dtype: Dtype = None,
    shard_size: ShardSize = None,
    drop: Drop = None,
    strip_prefix: StripPrefix = None,
    tokenizer: Tokenizer = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    no_hash: Annotated[bool, typer.Option("--no-hash", help="Take no digests: no verify, replay or resume.")] = False,
    no_fsync: Annotated[bool, typer.Option("--no-fsync", help="Do not wait until the disk has everything.")] = False,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Merge NaN and infinity as they are, instead of stopping.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(metavar="cpu|cuda|cuda:N", help="Where rules calculate that need a whole tensor. Default: cpu."),
    ] = None,
    plugin: Plugin = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Merge models into a new folder.

    Models are folders, files, `model+adapter`, or Hub ids `org/name@revision`.
    """
    from ligate.verbs.merge import merge as verb

    if method is None:
        recipe, target = _by_recipe(paths, out, base, settings, weight, blocks)
    else:
        values = parameters_of(settings or (), weight or (), blocks or ())
        recipe, target = _composed(method, paths, base, values, plugin or ()), _needed(out)
    merged = verb(
        recipe,
        target,
        dtype=dtype,
        seed=seed,
        shard_size=shard_size,
        drop=drop or (),
        strip_prefix=strip_prefix or (),
        tokenizer=tokenizer,
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        hashing=not no_hash,
        fsync=not no_fsync,
        allow_nonfinite=allow_nonfinite,
        device=device,
        plugins=plugin or (),
        watch=watcher(quiet=quiet, json=json),
    )
    if json:
        say_json(merged)
    elif not quiet:
        say(told(merged))


def told(merged: Merged) -> str:
    """The result in one line."""
    speed = f", {size(merged.nbytes / merged.seconds)}/s" if merged.seconds > 1 else ""
    dropped = f", {merged.dropped} left out as asked" if merged.dropped else ""
    digest = f"; digest {merged.digest}" if merged.digest else ""
    written = f"{merged.tensors} tensors{dropped}, {size(merged.nbytes)} in {duration(merged.seconds)}{speed}"
    return f"{merged.out}: {written}{digest}"


def _by_recipe(
    paths: Sequence[str],
    out: Path | None,
    base: str | None,
    settings: Sequence[str] | None,
    weight: Sequence[str] | None,
    blocks: Sequence[str] | None,
) -> tuple[Recipe | str, Path]:
    options = (("--base", base), ("--set", settings), ("--weight", weight), ("--blocks", blocks))
    given = [name for name, value in options if value]
    if given:
        hint = "add `--method ID`, or write it into the recipe."
        raise RecipeError(f"{given[0]} goes with --method; a recipe says it itself", where="merge", hint=hint)
    if len(paths) > 1 and Path(paths[0]).is_dir():
        spoken = " ".join(paths)
        hint = f"`ligate merge --method linear {spoken} -o OUT` merges models; `ligate methods` lists the methods."
        raise RecipeError(f"{paths[0]} is a folder, and a recipe is a YAML text file", where="merge", hint=hint)
    if len(paths) + (out is not None) != 2:
        hint = "`ligate merge RECIPE OUT`, or `ligate merge --method ID --base B A C -o OUT`."
        raise RecipeError("give a recipe and an output folder", where="merge", hint=hint)
    return paths[0], out or Path(paths[1])


def _composed(
    method: str, models: Sequence[str], base: str | None, values: Mapping[str, Any], plugins: Sequence[Path]
) -> Recipe:
    from ligate.verbs.compose import compose
    from ligate.verbs.methods import card

    return compose(card(method, plugins), models, base, values)


def _needed(out: Path | None) -> Path:
    if out is None:
        raise RecipeError("the output folder is missing", where="merge --method", hint="add `-o OUT`.")
    return out


def parameters_of(settings: Sequence[str], weight: Sequence[str] = (), blocks: Sequence[str] = ()) -> dict[str, Any]:
    """Parameters by name, from `--set`, `--weight` and `--blocks`."""
    from ligate.verbs.compose import spoken_blocks, spoken_value

    by_weight = [f"weight={','.join(weight)}"] if weight else []
    values: dict[str, Any] = {}
    for option, read, texts in (("--set", spoken_value, [*settings, *by_weight]), ("--blocks", spoken_blocks, blocks)):
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise RecipeError(f"'{text}' is no NAME=VALUE", where=option, hint="for example `--set density=0.2`.")
            if name in values:
                hint = "one per model is `--set NAME=0.3,0.7`."
                raise RecipeError(f"`{name}` is given twice", where=option, hint=hint)
            values[name] = read(value)
    return values
