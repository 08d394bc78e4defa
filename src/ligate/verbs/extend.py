"""Continue a merge that takes models one after the other: its record has the numbers with which it goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, RecipeError, VerifyError
from ligate.engine.record import Entry, Record

from .execute import Merged
from .given import Size
from .merge import merge
from .outcome import read_log, read_record
from .watch import Watch

METHOD = "merge/opcm"
_EARLIER = "earlier"
_KEPT = ("alpha", "rank", "kernels")  # parameters that stay


def extend(
    out: str | PathLike[str],
    models: Sequence[str] | str,
    new: str | PathLike[str],
    *,
    base: str | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    watch: Watch | None = None,
) -> Merged:
    """Merge further models into the OPCM result `out`, as if they had been there from the start; write `new`.

    Only `out`, its base and the new models are read. The base is looked for where the log beside `out` says it lay;
    `base` says otherwise. What `out` lost when it was stored in 16 bits, the continued merge has lost too.

    Raises:
        RecipeError: `out` is no OPCM result of scale 1; there are no models.
        InputError: nobody knows where the base lies.
        VerifyError: the base is not the one that `out` was merged from. `new` stays, for `diff`.
    """
    record = read_record(out)
    label = _continuable(record, str(out))
    models = [models] if isinstance(models, str) else models  # not its letters
    if not models:
        raise RecipeError("there are no models to merge into it", where=str(out), hint="name at least one.")
    recipe = _recipe(record, label, Path(out), base or _place(Path(out), label), models)
    merged = merge(recipe, new, memory=memory, threads=threads, overwrite=overwrite, device=device, watch=watch)
    before, after = record.input_digests(label), read_record(new).input_digests("base")
    if record.hashed and before != after:
        text = f"the base differs from the one that {out} was merged from"
        raise VerifyError(text, where=str(new), hint=f"it is kept; name the right one with `--base`, see {out}.")
    return merged


def _continuable(record: Record, where: str) -> str:
    """The label of its base; RecipeError if this result cannot be continued."""
    entries = list(record.tensors.values())
    others = {entry.method or "a copy" for entry in entries if entry.method != METHOD}
    if others or len(record.steps) > 1 or not entries:
        found = f"by {', '.join(sorted(others))}" if others else "in several steps"
        hint = "OPCM takes models one after the other; any other merge is made again from all models."
        raise RecipeError(f"was merged {found}: only OPCM can be continued", where=where, hint=hint)
    if any(entry.params["scale"] != 1 for entry in entries):
        hint = "merge with `scale: 1`, and scale in a step of its own."
        raise RecipeError("was merged with a scale other than 1", where=where, hint=hint)
    return next(entry.base.label for entry in entries if entry.base)


def _place(out: Path, label: str) -> str:
    found = read_log(out).get("sources", {}).get(label, {}).get("path")
    if found is None:
        raise InputError(f"nobody knows where {label} lies", where=str(out), hint="give `--base PATH`.")
    return found


def _recipe(record: Record, label: str, out: Path, base: str, models: Sequence[str]) -> Mapping[str, Any]:
    labels = [f"model-{number}" for number in range(1, len(models) + 1)]
    numbers = {name: {**entry.params, **_numbers(entry)} for name, entry in record.tensors.items()}
    parameters = {key: _by_tensor(key, numbers) for key in (*_KEPT, "grown", "seen", "length")}
    return {
        "sources": {"base": base, _EARLIER: str(out), **dict(zip(labels, models, strict=True))},
        "merge": {"method": METHOD, "base": "base", "models": [_EARLIER, *labels], "parameters": parameters},
        "output": {"donor": _EARLIER},
    }


def _numbers(entry: Entry) -> Mapping[str, Any]:
    return entry.stats["progress"]


def _by_tensor(key: str, numbers: Mapping[str, Mapping[str, Any]]) -> Any:
    """One value, or one for each tensor."""
    values = {name: found[key] for name, found in numbers.items()}
    first = next(iter(values.values()))
    if all(value == first for value in values.values()):
        return first
    return [{"match": re.sub(r"([\[*?])", r"[\1]", name), "value": value} for name, value in values.items()]
