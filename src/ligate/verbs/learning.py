"""Learning of a merge from a recipe's `data:`. It comes to an ordinary recipe, which is merged like any other."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError
from ligate.recipe.schema import Recipe

from .canonical import Lookup
from .learned import Made, Place
from .learned_outcome import Outcome, ordinary, outcome
from .learning_data import counted
from .lesson import Lesson, lesson
from .stamps import stamps
from .undertaking import How
from .watch import Watch

if TYPE_CHECKING:
    from ligate.learn.gradient import Learned, Look
    from ligate.learn.presets import Preset


def learned(recipe: Recipe, out: Path, how: How, lookup: Lookup, watch: Watch) -> Recipe:
    """The ordinary recipe that a recipe with `data:` comes to; it lies in `OUT.learned` too, with numbers and curve.

    What was learned before from the same data, models and settings is not learned again; a learning that was
    interrupted goes on.

    Raises:
        RecipeError, InputError, StorageError, Problems: as `lesson`; or the loss was no number from the start.
    """
    with lesson(recipe, out, how, lookup) as taken:
        place = Place(out, _key(taken, recipe))
        known = place.read()
        if known is None:
            known = _kept(taken, place, watch)
        else:
            watch.note(f"learned before from the same data and settings: {place.folder} is used again")
        found = ordinary(recipe, known[0], place.folder, known[1])
        place.write_recipe(found, lookup)
        return found


def _kept(taken: Lesson, place: Place, watch: Watch) -> tuple[Outcome, dict[str, Any]]:
    """What is learned now, and an account of it; both are written down."""
    found = _learn(taken, place, watch)
    watch.note(_told(found))
    came, made = outcome(taken, found)
    account = _account(taken, found)
    factors = {
        file: Made({tensor: partial(make, name) for name, tensor in taken.places.items()})
        for file, make in made.items()
    }
    place.keep(found.numbers, came, factors, account)
    return came, account


def _key(taken: Lesson, recipe: Recipe) -> str:
    """Of everything that decides what is learned, the same in every process; what only the output says is no part."""
    from ligate.tasks.digests import digest_of

    choice = taken.chosen
    read = [f"{name} {one.digest}" for name, one in taken.examples.items()]
    plan = taken.job.stages[0].plan
    outs = [repr((place, sorted(taken.places))) for place in (tuple(plan.sources),)]
    files = [repr(stamp) for stamp in stamps(taken.job.sources, ())]
    asked = (choice.data.kind, choice.data.length, choice.data.batch, choice.data.test_inputs)
    settings = repr((choice.preset.source, _settings(choice.preset), choice.preset.pooled))
    return digest_of([choice.method, settings, repr(asked), *read, *outs, *files])


def _learn(taken: Lesson, place: Place, watch: Watch) -> Learned:
    preset, (base, *experts) = taken.chosen.preset, taken.models
    tasks = taken.tasks()
    for note in _notes(taken, tasks):
        watch.note(note)
    watch.begin_steps("learning", preset.solver.steps)
    tell = _Teller(watch, preset.solver.patience)
    try:
        found = preset.learned(taken.network.module, base, experts, tasks, kept=place.state, tell=tell)
    except KeyboardInterrupt as stop:
        if place.state.is_file():
            stop.add_note("what was learned is kept; the same command goes on with it.")
        raise
    finally:
        watch.end()
    _require_sense(found)
    return found


class _Teller:
    """Tells whoever watches what every look has found."""

    def __init__(self, watch: Watch, patience: int) -> None:
        self._watch, self._patience, self._least, self._since = watch, patience, math.inf, 0

    def __call__(self, look: Look) -> None:
        if look.step == 0:  # of a further stage
            self._least, self._since = math.inf, 0
        better = look.stopping < self._least
        self._least, self._since = min(self._least, look.stopping), 0 if better else self._since + 1
        learning = "" if math.isnan(look.learning) else f"loss {look.learning:.4f}, "
        waiting = (
            f", {min(self._since, self._patience)} of {self._patience} looks without a better one"
            if self._since
            else ""
        )
        self._watch.step(look.step, f"{learning}on the stopping half {look.stopping:.4f}{waiting}")


def _notes(taken: Lesson, tasks: Sequence[Any]) -> list[str]:
    """What the user should know before it begins."""
    notes: list[str] = []
    single = [task.name for task in tasks if len(task.learning) == 1]
    if single:
        notes.append(f"all examples of {', '.join(single)} are one batch: every step learns from the same")
    names = set(taken.examples)
    if names & set(taken.chosen.models) and (without := [one for one in taken.chosen.models if one not in names]):
        notes.append(f"no task is called {' or '.join(without)}: no example speaks for that model")
    if taken.left:
        more = f" and {len(taken.left) - 1} more" if len(taken.left) > 1 else ""
        notes.append(f"no task asks `{taken.left[0]}`{more}: merged with the coefficients from which learning starts")
    if taken.chosen.data.test_inputs:
        notes.append("the inputs are those of the test: what comes out is adapted to them")
    return notes


def _require_sense(found: Learned) -> None:
    if not any(math.isfinite(look.stopping) for look in found.curve):
        hint = "are the models and their weights sound? `ligate check OUT --load` runs one."
        raise InputError("the loss is no number before anything is learned", where="learn", hint=hint)


def _told(found: Learned) -> str:
    first, best = found.curve[0], _best(found)
    why = f"; {found.ended}" if found.ended else ""
    why += f"; the next stage came to {_best(found.after).stopping:.4f} and is not used" if found.after else ""
    return (
        f"learned {sum(one.scalars for one in _stages(found)):,} numbers: loss on the stopping half "
        f"{first.stopping:.4f} at the start, {best.stopping:.4f} in step {best.step}{why}"
    )


def _stages(found: Learned) -> list[Learned]:
    """All of them, in the order in which they were learned."""
    earlier = _stages(found.before) if found.before else ()
    return [*earlier, replace(found, after=None), *(_stages(found.after) if found.after else ())]


def _best(found: Learned) -> Look:
    finite = (look for look in found.curve if math.isfinite(look.stopping))
    return min(finite, key=lambda look: look.stopping, default=found.curve[0])


def _stage(found: Learned, *, used: bool) -> dict[str, Any]:
    best = _best(found)
    return {
        "scalars": found.scalars,
        "curve": [[look.step, _number(look.learning), _number(look.stopping)] for look in found.curve],
        "best": {"step": best.step, "stopping": _number(best.stopping)},
        "ended": found.ended or "all steps are done",
        **({} if used else {"used": False}),
    }


def _account(taken: Lesson, found: Learned) -> dict[str, Any]:
    """For records: what was learned, how and from what. No text, no path, no time."""
    choice, stages = taken.chosen, _stages(found)
    used = len(stages) - (len(_stages(found.after)) if found.after else 0)
    data = choice.data
    labels = f"used, at most {data.per_class} of each class" if data.per_class else "used"
    return {
        "preset": choice.method,
        "source": choice.preset.source,
        "settings": _settings(choice.preset),
        "scalars": sum(one.scalars for one in stages),
        "tensors": {"learned": len(set(taken.places.values())), "left at the start": len(taken.left)},
        "data": {
            "kind": data.kind,
            "length": data.length,
            "batch": data.batch,
            "share": data.share,
            "labels": labels if choice.needs_labels else "not used",
            "test_inputs": data.test_inputs,
            "asked": "every task about the inputs of all" if taken.together else "every task about its own inputs",
            "tasks": counted(taken.examples),
        },
        "stages": [_stage(one, used=number < used) for number, one in enumerate(stages)],
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _settings(preset: Preset) -> dict[str, Any]:
    """The fields of its choices, and the shares at which a gate begins."""
    from ligate.learn.settings import settings_of

    shares: Sequence[float] = getattr(preset.parametrisation, "at", ())
    return {**settings_of(preset), **({"weight": list(shares)} if shares else {})}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
