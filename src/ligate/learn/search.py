"""Black-box search: the values of a few parameters that do best, by trials alone. The third choice without gradients.

A sampler proposes a point, the caller says what it is worth, and so on for `budget` trials. Which points are proposed
depends on the seed and on what the earlier ones were worth, on nothing else: an interrupted search that finds its
journal again asks the sampler the same questions, answers from the journal, and goes on as if nothing had happened.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.space import SAMPLERS, Among, Between, Point, Sampler, Space, Value, as_data, coordinates

from .front import Goal, front, knee
from .trials import Journal, Trial

if TYPE_CHECKING:
    import optuna

Evaluate = Callable[[Point], Mapping[str, float]]
"""A point -> what was measured there, by name; at least the goals."""

LOSS = (Goal("loss", higher=False),)


@dataclass(frozen=True)
class Found:
    """All trials, and the best of them: of one goal the best point, of several the knee of the front."""

    goals: Sequence[Goal]
    trials: Sequence[Trial]
    front: Sequence[Trial]
    best: Trial

    @property
    def failed(self) -> int:
        return sum(bool(trial.failed) for trial in self.trials)


def search(
    space: Space,
    evaluate: Evaluate,
    *,
    objectives: Sequence[Goal] = LOSS,
    sampler: Sampler = "tpe",
    budget: int = 50,
    seed: int = 0,
    start: Point | None = None,
    kept: Path | None = None,
    about: Mapping[str, Any] | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Found:
    """The points of a space at which `evaluate` tells the best values.

    A trial that raises, or whose goals are not finite, is recorded with its reason and the search goes on. A point
    that comes up again is not evaluated again, but counts as a trial.

    Args:
        objectives: what is wanted; with several, the trials that no other beats are the front.
        sampler: `tpe`: Tree-structured Parzen estimators (Bergstra et al., 2011; Watanabe, arXiv 2304.11127), also
            for several goals and for choices; `cma`: CMA-ES (Hansen, arXiv 1604.00772), for one goal and two or more
            numbers; `random`. All as in Optuna.
        budget: number of trials.
        start: coordinates of the first trial; what it leaves open is drawn.
        kept: a file for the trials. If it is there already, its trials are not evaluated again, and the result is that
            of a search that was never interrupted; a greater budget goes on.
        about: what else decides the values, such as digests of models and data: a file of another search is refused.
        tell: hears of every trial.

    Raises:
        RecipeError: the space is empty, or too much for the sampler; Optuna is not installed.
        InputError: no trial succeeded; or `kept` is the file of another search.
    """
    over = coordinates(space)
    _require(over, objectives, sampler, budget, start or {})
    library = _optuna(sampler)
    head = {"space": as_data(space), "goals": [list(goal) for goal in objectives], "sampler": sampler,
            "seed": seed, "start": dict(start or {}), "optuna": library.__version__, "about": about or {}}  # fmt: skip
    with _quiet(library):
        asker = _Asker(library, over, objectives, sampler, seed, start or {})
        journal = Journal(kept, head)
        trials: list[Trial] = []
        for number in range(budget):
            point = asker.ask()
            if number < len(journal.trials):
                trial = _same(journal.trials[number], point, kept)
            else:
                trial = _tried(number, point, trials, evaluate, objectives)
                journal.add(trial)
            asker.answer(trial)
            trials.append(trial)
            tell(trial)
    return _found(objectives, trials)


def _require(
    over: Mapping[str, Between | Among], goals: Sequence[Goal], sampler: str, budget: int, start: Point
) -> None:
    if sampler not in SAMPLERS:
        raise RecipeError(f"there is no sampler '{sampler}'", where="search", hint=f"one of {', '.join(SAMPLERS)}.")
    if budget < 1 or not goals:
        raise RecipeError("a search needs one trial and one goal at least", where="search")
    if sampler == "cma":
        words = [name for name, each in over.items() if isinstance(each, Among)]
        reason = (
            f"numbers only, and `{words[0]}` is a choice" if words
            else "one goal only" if len(goals) > 1
            else "two numbers or more" if len(over) < 2
            else ""
        )  # fmt: skip
        if reason:
            raise RecipeError(f"CMA-ES looks for {reason}", where="search", hint="use the sampler `tpe`.")
    for name, value in start.items():
        if name not in over or not over[name].holds(value):
            raise RecipeError(f"the search cannot start at {name} = {value!r}: it lies outside", where="search")


def _tried(number: int, point: Point, before: Sequence[Trial], evaluate: Evaluate, goals: Sequence[Goal]) -> Trial:
    """Evaluated, unless the same point was already."""
    known = next((trial for trial in before if trial.point == point), None)
    if known is not None:
        return known._replace(number=number, again=known.number)
    try:
        values = {name: float(value) for name, value in evaluate(point).items()}
    except LigateError as error:
        return Trial(number, point, {}, str(error))
    except Exception as error:  # a rule and a network may be anybody's code: its failure ends a trial, not the search
        return Trial(number, point, {}, f"{type(error).__name__}: {error}")
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    lacking = [f"{goal.name} is {values.get(goal.name, 'missing')}" for goal in goals if goal.name not in finite]
    return Trial(number, point, {} if lacking else finite, ", ".join(lacking))


def _same(known: Trial, point: Point, path: Path | None) -> Trial:
    if known.point != point:
        text = f"trial {known.number} was {dict(known.point)}, and would be {dict(point)} now"
        raise InputError(text, where=str(path), hint="another version of a library may draw others; move it away.")
    return known


def _found(goals: Sequence[Goal], trials: Sequence[Trial]) -> Found:
    told = [trial for trial in trials if not trial.failed]
    if not told:
        hint = f"the first: {trials[0].failed}"
        raise InputError(f"all {len(trials)} trials failed", where="search", hint=hint)
    values = [trial.values for trial in told]
    best = [told[place] for place in front(values, goals)]
    return Found(goals, trials, best, best[knee([trial.values for trial in best], goals)])


class _Asker:
    """One of Optuna's samplers, asked and answered trial by trial."""

    def __init__(
        self,
        library: Any,
        over: Mapping[str, Between | Among],
        goals: Sequence[Goal],
        sampler: Sampler,
        seed: int,
        start: Point,
    ) -> None:
        self._over = over
        self._known = {name: _distribution(library, each) for name, each in over.items()}
        self._failed = library.trial.TrialState.FAIL
        self._goals = goals
        self._study = library.create_study(
            sampler=_sampler(library, sampler, seed, start if start.keys() == over.keys() else None),
            directions=["maximize" if goal.higher else "minimize" for goal in goals],
        )
        if start:
            self._study.enqueue_trial(dict(start))

    def ask(self) -> dict[str, Value]:
        self._asked = self._study.ask(self._known)
        return {name: each.taken(self._asked.params[name]) for name, each in self._over.items()}

    def answer(self, trial: Trial) -> None:
        if trial.failed:
            self._study.tell(self._asked, state=self._failed)
        else:
            self._study.tell(self._asked, [trial.values[goal.name] for goal in self._goals])


def _sampler(library: Any, kind: Sampler, seed: int, middle: Point | None) -> optuna.samplers.BaseSampler:
    match kind:
        case "tpe":
            return library.samplers.TPESampler(seed=seed, multivariate=True)
        case "cma":
            return library.samplers.CmaEsSampler(x0=middle and dict(middle), seed=seed)
        case "random":
            return library.samplers.RandomSampler(seed=seed)


def _distribution(library: Any, over: Between | Among) -> optuna.distributions.BaseDistribution:
    match over:
        case Between(low, high, log, whole=True):
            return library.distributions.IntDistribution(int(low), int(high), log=log)
        case Between(low, high, log):
            return library.distributions.FloatDistribution(low, high, log=log)
        case Among(values):
            return library.distributions.CategoricalDistribution(values)


def _optuna(sampler: Sampler) -> Any:
    try:
        if sampler == "cma":
            importlib.import_module("cmaes")
        return importlib.import_module("optuna")
    except ImportError as error:
        hint = "pip install 'ligate[search]'"
        text = f"a search needs {error.name}, which is not installed here"
        raise RecipeError(text, where="search", hint=hint) from None


@contextmanager
def _quiet(library: Any) -> Generator[None]:
    """Optuna announces studies and trials, and which of its own options are young. The caller's setting comes back."""
    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna|ligate\.learn\.search")
            yield
    finally:
        library.logging.set_verbosity(before)
