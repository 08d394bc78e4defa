"""`ligate bench run`: play a suite and write down what it found, for machines, spreadsheets and people."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.bench.kept import write_whole
from ligate.bench.suite import TIERS, Request, Scale, Teller, Tier
from ligate.bench.suites import module_of
from ligate.core.errors import RecipeError, StorageError

if TYPE_CHECKING:
    from ligate.bench.results import Results

_NEEDS = ("transformers", "tokenizers", "scipy", "sklearn")
_STARTED, _REPORT, _SHEET = "run.json", "report.html", "results.csv"


def run(
    suite: str,
    out: str | Path,
    *,
    tier: str = "standard",
    seeds: int | None = None,
    budget: int | None = None,
    methods: Sequence[str] | None = None,
    model: str | None = None,
    store: str | Path | None = None,
    keep: bool = False,
    tell: Teller | None = None,
) -> Results:
    """Play a suite and write results.json, answers.npz, results.csv and report.html into `out`.

    `suite` is a name (see `ligate bench suites`) or the path of a YAML file about your own models. What is trained and
    answered is kept in `store` and used again; a run that was killed goes on when it is started again.

    Raises:
        RecipeError: there is no such suite, tier or method.
        InputError: data or the pretrained network cannot be had.
        StorageError: `out` holds something else, or cannot be written.
    """
    _required()
    # Both are read when torch and transformers are first imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin are ten times slower on a busy machine
    place = Path(out).expanduser()
    request = asked(suite, place, tier, seeds, budget, methods, model, store, keep)
    _begin(place, request)
    results = module_of(suite).play(request, tell or Teller())
    write(results, place)
    return results


def asked(
    suite: str,
    out: Path,
    tier: str,
    seeds: int | None,
    budget: int | None,
    methods: Sequence[str] | None,
    model: str | None,
    store: str | Path | None,
    keep: bool,
) -> Request:
    """The request with what the suite's tier says for everything that was not asked for."""
    scale = _scale(suite, tier)
    for name, value, least in (("--seeds", seeds, 1), ("--budget", budget, 2)):
        if value is not None and value < least:
            raise RecipeError(f"{name} is {value}, and must be at least {least}", where="bench")
    return Request(
        suite=suite,
        tier=_tier(tier),
        out=out,
        store=Path(store).expanduser() if store else default_store(),
        seeds=scale.seeds if seeds is None else tuple(range(seeds)),
        budget=scale.budget if budget is None else budget,
        methods=None if methods is None else tuple(methods),
        model=model,
        keep=keep,
    )


def default_store() -> Path:
    """Where the system keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ligate" / "bench"


def write(results: Results, place: Path) -> None:
    """All files of the results; also used to make a report anew."""
    from ligate.bench import sheets
    from ligate.bench.page import page
    from ligate.bench.results import save

    save(results, place)
    sheets.write(results, place / _SHEET)
    write_whole(place / _REPORT, page(results))


def _scale(suite: str, tier: str) -> Scale:
    return module_of(suite).SCALES[_tier(tier)]


def _tier(name: str) -> Tier:
    for tier in TIERS:
        if tier == name:
            return tier
    raise RecipeError(f"there is no tier '{name}'", where="bench", hint=f"one of {', '.join(TIERS)}.")


def _required() -> None:
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"the bench needs {', '.join(missing)}",
            where="bench",
            hint="install them with `pip install 'ligate[bench]'`.",
        )


def _begin(place: Path, request: Request) -> None:
    """Only a new folder, or one where the same suite and tier were started before."""
    told = {"suite": request.suite, "tier": request.tier}
    try:
        if place.exists() and any(place.iterdir()) and _started(place) != told:
            before = _started(place)
            held = f"results of {before['suite']}, tier {before['tier']}" if before else "something else"
            raise StorageError(f"holds {held}", where=str(place), hint="give `--out` a new folder.")
        write_whole(place / _STARTED, json.dumps(told))
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(place)) from error


def _started(place: Path) -> dict[str, str] | None:
    try:
        return json.loads((place / _STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
