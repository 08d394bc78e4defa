"""Continue a merge with models that come later, from its record: by OPCM, or by coefficients that are learned."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ligate.core.errors import InputError, RecipeError, VerifyError
from ligate.engine.record import Entry, Record
from ligate.recipe.parse import data_of, data_text, draft_text
from ligate.recipe.schema import Recipe

from .execute import Merged
from .given import Size
from .learning_choice import LEARN
from .merge import merge
from .opening import labels_of
from .outcome import read_log, read_record
from .watch import Watch

METHOD = "merge/opcm"
EARLIER = "earlier"
_KEPT = ("alpha", "rank", "kernels")  # parameters that stay
_WHOLE, _NEARLY_WHOLE = 1.0, 0.95  # of what is merged already; a sigmoid never comes to 1


def extend(
    out: str | PathLike[str],
    models: Sequence[str] | str,
    new: str | PathLike[str],
    *,
    base: str | None = None,
    method: str | None = None,
    data: str | PathLike[str] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    drop: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    watch: Watch | None = None,
) -> Merged:
    """Merge further models into the result `out`, without those that are in it; write `new`.

    An OPCM result goes on as if the models had been there from the start. One whose coefficients were learned goes on
    with its preset (another one, or that of any other result that has a base, is given by `method: learn/...`): `out`
    is one operand, called `earlier`, the new models are the others, and the coefficients of all are learned on the
    tasks of `data`, a YAML file with a `data:` block. A task is taught by the model of its name; old tasks keep what
    `out` can do from being unlearned. `settings` replace those of the preset.

    Only `out`, its base and the new models are read. The base is looked for where the log beside `out` says it lay;
    `base` says otherwise. What `out` lost when it was stored in 16 bits, the continued merge has lost too.

    Raises:
        RecipeError: `out` is neither OPCM of scale 1 nor learned; there are no models; learning lacks its data.
        InputError: nobody knows where the base lies.
        VerifyError: the base is not the one that `out` was merged from. `new` stays, for `diff`.
    """
    record = read_record(out)
    models = [models] if isinstance(models, str) else models  # not its letters
    if not models:
        raise RecipeError("there are no models to merge into it", where=str(out), hint="name at least one.")
    learned = method or record.recipe.get("learned", {}).get("preset")
    if learned:
        going_on = _learning(record, learned, data, settings)
    else:
        _refuse_learning(data, settings)
        going_on = _opcm(record, str(out))
    label = _base_of(record, str(out))
    places = {"base": base or _place(Path(out), label), EARLIER: str(out), **_labelled(models)}
    merged = merge(
        going_on(places),
        new,
        drop=drop,
        strip_prefix=strip_prefix,
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        device=device,
        watch=watch,
    )
    before, after = record.input_digests(label), read_record(new).input_digests("base")
    if record.hashed and before != after:
        text = f"the base differs from the one that {out} was merged from"
        raise VerifyError(text, where=str(new), hint=f"it is kept; name the right one with `--base`, see {out}.")
    return merged


GoingOn = Callable[[Mapping[str, str]], Recipe]
"""Paths by label, base and earlier result first -> the recipe that goes on."""


def _refuse_learning(data: str | PathLike[str] | None, settings: Mapping[str, Any]) -> None:
    if data is not None or settings:
        where, hint = "--set" if data is None else "--data", "leave it out, or give `--method learn/...` too."
        raise RecipeError("OPCM goes on without learning anything", where=where, hint=hint)


def _opcm(record: Record, where: str) -> GoingOn:
    """RecipeError if this result cannot be continued."""
    entries = list(record.tensors.values())
    others = {entry.method or "a copy" for entry in entries if entry.method != METHOD}
    if others or len(record.steps) > 1 or not entries:
        found = f"by {', '.join(sorted(others))}" if others else "in several steps"
        hint = "OPCM takes models one after the other; with `--method learn/... --data FILE` coefficients are learned."
        raise RecipeError(f"was merged {found}: only OPCM and learned merges can be continued", where=where, hint=hint)
    if any(entry.params["scale"] != 1 for entry in entries):
        hint = "merge with `scale: 1`, and scale in a step of its own."
        raise RecipeError("was merged with a scale other than 1", where=where, hint=hint)
    numbers = {name: {**entry.params, **_numbers(entry)} for name, entry in record.tensors.items()}
    parameters = {key: _by_tensor(key, numbers) for key in (*_KEPT, "grown", "seen", "length")}
    return lambda places: _recipe(METHOD, places, parameters)


def _learning(record: Record, method: str, data: str | PathLike[str] | None, settings: Mapping[str, Any]) -> GoingOn:
    """With the settings that differ from the preset's own, where the result was learned by the same one."""
    if not method.startswith(LEARN):
        hint = "an OPCM result needs none; coefficients are learned by `learn/...`."
        raise RecipeError(f"a merge cannot go on by `{method}`", where="--method", hint=hint)
    if data is None:
        hint = "`--data FILE`: a YAML file with a `data:` block, as in a recipe; see docs/search.md."
        raise RecipeError(f"`{method}` learns how to go on, and has no data", where="extend", hint=hint)
    examples, parameters = data_of(Path(data)), {**_settings(record, method), **settings}
    return lambda places: replace(_recipe(method, places, parameters), data=examples)


def _settings(record: Record, method: str) -> dict[str, Any]:
    from ligate.learn.presets import PRESETS
    from ligate.learn.settings import settings_of

    preset = PRESETS.get(method.removeprefix(LEARN))
    if preset is None:
        return {}  # the recipe's own checks name those that there are
    own, learned = settings_of(preset), record.recipe.get("learned", {})
    said = learned.get("settings", {}) if learned.get("preset") == method else {}
    changed = {name: value for name, value in said.items() if name in own and value != own[name]}
    if "first_at" not in own:  # a gate begins with equal shares
        return changed
    return {**changed, "first_at": _NEARLY_WHOLE if own.get("squash") == "sigmoid" else _WHOLE}


def _base_of(record: Record, where: str) -> str:
    """The label of its base."""
    label = next((entry.base.label for entry in record.tensors.values() if entry.base), None)
    if label is None:
        hint = "only a merge of what models learned since their base can go on."
        raise RecipeError("was merged without a base", where=where, hint=hint)
    return label


def _place(out: Path, label: str) -> str:
    found = read_log(out).get("sources", {}).get(label, {}).get("path")
    if found is None:
        raise InputError(f"nobody knows where {label} lies", where=str(out), hint="give `--base PATH`.")
    return found


def _labelled(models: Sequence[str]) -> dict[str, str]:
    """Called as their folders are: tasks have the names of their models."""
    return dict(zip(labels_of(["base", EARLIER, *models])[2:], models, strict=True))


def _recipe(method: str, places: Mapping[str, str], parameters: Mapping[str, Any]) -> Recipe:
    return draft_text(
        data_text(
            {
                "sources": {label: {"path": path} for label, path in places.items()},
                "merge": {"method": method, "base": "base", "models": list(places)[1:], "parameters": parameters},
                "output": {"donor": EARLIER},
            }
        ),
        "extend",
    )


def _numbers(entry: Entry) -> Mapping[str, Any]:
    return entry.stats["progress"]


def _by_tensor(key: str, numbers: Mapping[str, Mapping[str, Any]]) -> Any:
    """One value, or one for each tensor."""
    values = {name: found[key] for name, found in numbers.items()}
    first = next(iter(values.values()))
    if all(value == first for value in values.values()):
        return first
    return [{"match": re.sub(r"([\[*?])", r"[\1]", name), "value": value} for name, value in values.items()]
