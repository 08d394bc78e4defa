"""Which pass over which segment comes next: statistics in order, then the rule; tensors that share one wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from ligate.core.errors import RecipeError
from ligate.core.method import Again, Scope, Stat

from .job import Job

_WHOLE = -1  # in place of a position: what all tensors of a group share


class Task(NamedTuple):
    """One pass over one segment of one job. `stat` None applies the rule; `sample` set looks at few elements only."""

    group: Group
    job: Job
    position: int  # of the job in its group
    segment: int
    stat: Stat | None
    state: Any  # of the pass before, for `stat` to go on from; None begins anew
    sample: int | None

    def start(self) -> Any:
        """What to observe into. No two segments get the same new state: a statistic may write to it."""
        if self.stat is None or self.state is not None:
            return self.state
        return self.stat.init(len(self.job.out.tuned))


@dataclass
class Group:
    """Jobs that share their statistics: one tensor, or all tensors of a model-wide measurement."""

    jobs: Sequence[Job]
    stats: Sequence[Sequence[Stat]]  # of each job: the same measurements, on numbers that its own parameters may change
    turn: int = 0  # which statistic is being measured
    open: dict[int, Any] = field(default_factory=dict)  # position of a job not yet finished with it -> `Task.state`
    due: deque[tuple[int, int]] = field(default_factory=deque)  # (position, segment) not yet folded, in order
    early: dict[tuple[int, int], Any] = field(default_factory=dict)  # states that came before their turn
    folded: dict[int, Any] = field(default_factory=dict)  # merged so far: by position, or all under _WHOLE
    pending: int = 0

    def first_tasks(self) -> list[Task]:
        if all(job.done(i) for job in self.jobs for i in range(len(job.segments))):
            return []
        return self._measure(fresh=True) if self.stats[0] else self._apply()

    def finished(self, task: Task, state: Any) -> list[Task]:
        """Take the outcome of a task; the tasks that may start now. Called under the schedule's lock."""
        self.pending -= 1
        if task.stat is not None:
            self.early[task.position, task.segment] = state
            self._fold()
        if self.pending:
            return []
        if task.stat is None:
            for job in self.jobs:
                job.values.clear()  # they may be large, and nobody asks for them any more
            return []
        self._close_pass()
        if self.open:
            return self._measure(fresh=False)
        self.turn += 1
        return self._measure(fresh=True) if self.turn < len(self.stats[0]) else self._apply()

    def _measure(self, *, fresh: bool) -> list[Task]:
        if fresh:
            self.open = dict.fromkeys(range(len(self.jobs)))
        tasks: list[Task] = []
        for position, state in self.open.items():
            first = Task(self, self.jobs[position], position, 0, self._stat(position), state, None)
            sample = self._stat(position).sample(first.start())
            if sample is None or sample >= first.job.cut.numel:  # an ordinary pass sees every element exactly once
                tasks += [first._replace(segment=segment) for segment in range(len(first.job.segments))]
            else:
                tasks.append(first._replace(sample=sample))
        self.due = deque((task.position, task.segment) for task in tasks)
        self.pending = len(tasks)
        return tasks

    def _apply(self) -> list[Task]:
        tasks = [
            Task(self, job, position, segment, None, None, None)
            for position, job in enumerate(self.jobs)
            for segment in range(len(job.segments))
            if not job.done(segment)
        ]
        self.pending = len(tasks)
        return tasks

    def _stat(self, position: int) -> Stat:
        """What is being measured, as this job measures it; under _WHOLE, as the first one does."""
        return self.stats[max(position, 0)][self.turn]

    def _fold(self) -> None:
        """Merge states in the order of tensors and segments, whatever order they come in; keep no more than needed."""
        while self.due and self.due[0] in self.early:
            key = self.due.popleft()
            stat = self._stat(key[0])
            state, into = self.early.pop(key), _WHOLE if stat.scope == "model" else key[0]
            self.folded[into] = stat.merge(self.folded[into], state) if into in self.folded else state

    def _close_pass(self) -> None:
        folded, self.folded = self.folded, {}
        for into, state in folded.items():
            stat = self._stat(into)
            self._settle(stat, list(self.open) if into == _WHOLE else [into], stat.finish(state))

    def _settle(self, stat: Stat, positions: Sequence[int], outcome: Any) -> None:
        for position in positions:
            if isinstance(outcome, Again):
                self.open[position] = outcome.state
                continue
            del self.open[position]
            job = self.jobs[position]
            value = stat.pick(outcome, job.out.name) if stat.pick else outcome
            job.values[stat.name] = value
            if stat.report:
                job.reports[stat.name] = stat.report(value)


def group_jobs(jobs: Iterable[Job]) -> list[Group]:
    """A group per tensor; one for all tensors of the same rule and models where a statistic spans the model."""
    groups: dict[Hashable, list[tuple[Job, Sequence[Stat]]]] = {}
    for position, job in enumerate(jobs):
        stats = job.stats
        _check_scopes(job, stats)
        spanning = [stat for stat in stats if stat.scope == "model"]
        key: Hashable = position
        if spanning:
            labels = tuple(source.label for source in job.sources)
            key = (job.out.method, labels, tuple(stat.name for stat in stats), tuple(stat.group for stat in spanning))
        groups.setdefault(key, []).append((job, stats))
    for members in groups.values():
        widest = max(job.compute for job, _ in members)  # "F32" < "F64": one statistic, one kind of number
        for job, _ in members:
            job.compute = widest
    return [Group([job for job, _ in members], [stats for _, stats in members]) for members in groups.values()]


def _check_scopes(job: Job, stats: Iterable[Stat]) -> None:
    """A scope that is misspelt would be measured by tensor, and nobody would notice."""
    for stat in stats:
        if stat.scope not in get_args(Scope):
            text = f"the statistic `{stat.name}` has the scope '{stat.scope}'"
            raise RecipeError(text, where=f"method {job.out.method}", hint=f"it may be {' or '.join(get_args(Scope))}.")


class Schedule:
    """A queue of tasks that threads take from; finishing one may add others in front."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._ready: deque[Task] = deque()
        self._running = 0
        self._stopped = False
        self._changed = threading.Condition()
        for group in groups:
            self._ready.extend(group.first_tasks())

    def take(self) -> Task | None:
        """The next task; None when all is done or the schedule was stopped."""
        with self._changed:
            while not self._ready and self._running and not self._stopped:
                self._changed.wait()
            if self._stopped or not self._ready:
                return None
            self._running += 1
            return self._ready.popleft()

    def finish(self, task: Task, state: Any) -> None:
        with self._changed:
            self._running -= 1
            self._ready.extendleft(reversed(task.group.finished(task, state)))
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
