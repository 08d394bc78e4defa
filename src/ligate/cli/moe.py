"""`ligate moe CONFIG OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Dtype, Json, Memory, Overwrite, Quiet, ShardSize, Threads
from .progress import watcher
from .show import say, say_json, size


def moe(
    config: Annotated[Path, typer.Argument(help="Which models, which prompts: mergekit-moe's YAML.")],
    out: Annotated[Path, typer.Argument(help="The mixture's folder.")],
    dtype: Dtype = None,
    seed: Annotated[int, typer.Option(help="Of random gates and noise.")] = 0,
    shard_size: ShardSize = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    no_hash: Annotated[bool, typer.Option("--no-hash", help="Take no digests: no verify.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Build a mixture of experts from dense models, in Mixtral's or Qwen's layout."""
    from ligate.verbs.mixture import moe as verb

    made = verb(
        config,
        out,
        dtype=dtype,
        seed=seed,
        shard_size=shard_size or "5GB",
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        hashing=not no_hash,
        watch=watcher(quiet=quiet, json=json),
    )
    if json:
        say_json(made)
    elif not quiet:
        digest = f"; digest {made.digest}" if made.digest else ""
        experts = f"{made.experts} experts, {made.per_token} per token"
        say(f"{made.out}: {made.layout}, {experts}, {made.tensors} tensors, {size(made.nbytes)}{digest}")
