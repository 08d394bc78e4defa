"""Language models of the user under the tasks of EleutherAI's lm-evaluation-harness, which is asked as a library.

Its tasks have one set of questions that is scored. A fifth of it, drawn by hash, chooses coefficients here and is not
scored, so a number of this suite is not that of a leaderboard. Networks that vote are nothing the harness can ask.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ligate.bench.kept import code_digest, digest_of, folder_digest
from ligate.bench.suite import OUTSIDE, PRETRAINED, TEST, VALIDATION, How, Metric, Paper, State, Task, Trained, Values
from ligate.bench.suites.own import models as own_models
from ligate.bench.suites.own.config import Config, TaskSpec
from ligate.bench.suites.own.data import FEWEST
from ligate.bench.suites.own.stage import Stage, people, tasks_of
from ligate.bench.weights import read_weights, write_weights
from ligate.core.errors import InputError, LigateError, raise_all
from ligate.tasks import causal
from ligate.tasks.questions import share_of

SHARE = 0.2  # of a task's questions choose coefficients
_SCORING = ("suites/own/harness.py",)
_BESIDE = (".json", ".txt", ".model", ".jinja")
_LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "brier", "ter")
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "the other questions of the harness's tasks",
    OUTSIDE: "tasks that no expert was trained for",
}


@dataclass
class HarnessWorld:
    """A `World`. `numbers` are those of the questions by paper and task, as the harness counts them."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    specs: Mapping[str, TaskSpec]
    numbers: Mapping[str, Mapping[str, Sequence[int]]]
    origin: Path  # whose config and tokenizer go with any weights
    manager: Any
    contents: Mapping[str, str]  # digest of the questions by task

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [code_digest(_SCORING), version("lm_eval"), torch.__version__, folder_digest(self.origin)]
        parts += [repr(spec) for spec in self.specs.values()] + [repr(self.numbers), repr(self.contents)]
        return digest_of(parts)

    def papers(self) -> Mapping[str, Paper]:
        starts = {name: 10**6 * place for place, name in enumerate(self.specs)}  # no question is in two tasks
        return {
            paper: Paper(
                {task: torch.tensor([starts[task] + n for n in ids]) for task, ids in each.items()}, _SAYS[paper]
            )
            for paper, each in self.numbers.items()
        }

    def state(self, label: str) -> State:
        return self.loaded(next(one.folder for one in (*self.others, *self.experts) if one.label == label))

    def loaded(self, folder: Path) -> State:
        return read_weights(folder)

    def ask(self, state: State, paper: str) -> Values:
        """The weights become a folder for the time of the questions: the harness loads models by itself."""
        with tempfile.TemporaryDirectory(prefix="ligate-bench-") as place:
            folder = Path(place)
            for path in self.origin.iterdir():
                if path.suffix in _BESIDE and not path.name.endswith(".index.json"):
                    shutil.copyfile(path, folder / path.name)
            write_weights(state, folder)
            return self._asked(folder, paper)

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        raise InputError(
            "networks cannot vote under lm-evaluation-harness",
            where=paper,
            hint="the kind causal-lm mixes what language models say, token by token.",
        )

    def _asked(self, folder: Path, paper: str) -> Values:
        import lm_eval  # pyright: ignore[reportMissingImports] - an extra

        found: dict[str, torch.Tensor] = {}
        for shots in sorted({self.specs[task].shots for task in self.numbers[paper]}, key=str):
            names = {self.specs[task].harness: task for task in self.numbers[paper] if self.specs[task].shots == shots}
            told = lm_eval.simple_evaluate(
                model="hf",
                model_args={"pretrained": str(folder), "trust_remote_code": False},
                tasks=list(names),
                num_fewshot=shots,
                samples={name: list(self.numbers[paper][task]) for name, task in names.items()},
                device="cuda" if torch.cuda.is_available() else "cpu",
                task_manager=self.manager,
                log_samples=True,
                bootstrap_iters=0,
            )
            for name, task in names.items():
                found[task] = values(told["samples"][name], self.specs[task], self.numbers[paper][task])
        return {task: found[task] for task in self.numbers[paper]}


def values(samples: Sequence[Mapping[str, Any]], spec: TaskSpec, numbers: Sequence[int]) -> torch.Tensor:
    """[N] float64, a number per question in the order of `numbers`.

    Raises:
        InputError: the harness tells no such metric for each question.
    """
    filters = sorted({str(one.get("filter", "none")) for one in samples})
    chosen = spec.filter or (filters[0] if len(filters) == 1 else "")
    if chosen not in filters:
        text = f"task `{spec.name}` is scored behind the filters {', '.join(filters)}"
        raise InputError(text, where=str(spec.place), hint="choose one with `filter:`.")
    mine = {int(one["doc_id"]): one for one in samples if str(one.get("filter", "none")) == chosen}
    known = sorted({name for one in mine.values() for name in one.get("metrics", ())})
    if any(not isinstance(mine[n].get(spec.metric), (int, float)) for n in numbers):
        text = f"the harness has no number `{spec.metric}` for each question of task `{spec.name}`"
        raise InputError(text, where=str(spec.place), hint=f"`metric:` is one of {', '.join(known)}.")
    return torch.tensor([float(mine[n][spec.metric]) for n in numbers], dtype=torch.float64)


def prepare(config: Config, limit: int) -> Stage:
    """Models and tasks, found and checked; the harness itself reads and keeps the data of its tasks."""
    required(config)
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] - an extra

    folders, problems = own_models.located(config)
    manager = TaskManager(include_path=str(config.folder / config.include) if config.include else None)
    numbers, contents, found = _numbers(config, manager, limit)
    raise_all([*problems, *found])
    raise_all(own_models.check_tensors([(model, folders[model.label]) for model in config.models]))
    causal.check(config.pretrained.label, config.pretrained.place, folders[PRETRAINED])
    experts, others = people(config, {one.label: own_models.trained(one, folders[one.label]) for one in config.models})
    specs = {spec.name: spec for spec in config.tasks}
    tasks = tasks_of(config, dict.fromkeys(specs, 0))

    def world(seed: int) -> HarnessWorld:
        return HarnessWorld(seed, tasks, experts, others, specs, numbers, folders[PRETRAINED], manager, contents)

    name = config.tasks[0].metric
    higher = not any(word in name for word in _LOWER_IS_BETTER)
    share = name.startswith(("acc", "exact_match", "f1", "em"))
    metric = Metric(name, "%" if share else "", 100.0 if share else 1.0, higher)
    return Stage(world, lambda one: _facts(config, numbers), metric)


def required(config: Config) -> None:
    if find_spec("lm_eval") is None:
        hint = "`pip install 'lm_eval[hf]>=0.4.9'`"
        raise InputError("the kind lm-eval takes lm-evaluation-harness", where=f"{config.name}.yaml", hint=hint)
    metrics = {spec.metric for spec in config.tasks}
    if len(metrics) > 1:
        text = f"tasks with different metrics ({', '.join(sorted(metrics))}) have no average"
        raise InputError(text, where=str(config.tasks[0].place), hint="one file for each metric.")


def _numbers(
    config: Config, manager: Any, limit: int
) -> tuple[dict[str, dict[str, list[int]]], dict[str, str], list[LigateError]]:
    """The questions of every paper, what they hold, and what is wrong with the tasks."""
    labels = {model.label for model in config.experts}
    papers: dict[str, dict[str, list[int]]] = {VALIDATION: {}, TEST: {}, OUTSIDE: {}}
    contents: dict[str, str] = {}
    problems: list[LigateError] = []
    for spec in config.tasks:
        try:
            documents = _documents(spec, manager)
        except LigateError as error:
            problems.append(error)
            continue
        keys = [repr(each) for each in documents]
        contents[spec.name] = digest_of(keys)
        order = sorted(range(len(keys)), key=lambda n: (share_of(f"draw/{keys[n]}"), n))
        inside = config.same_task or spec.name in labels
        chosen = [n for n in order if share_of(keys[n]) < SHARE][:limit]
        scored = [n for n in order if share_of(keys[n]) >= SHARE][:limit]
        if min(len(scored), len(chosen)) < FEWEST:
            text = f"task `{spec.name}` has {len(keys)} questions, too few to choose by and to score"
            problems.append(InputError(text, where=str(spec.place)))
        papers[TEST if inside else OUTSIDE][spec.name] = sorted(scored)
        if inside:
            papers[VALIDATION][spec.name] = sorted(chosen)
    return {paper: each for paper, each in papers.items() if each}, contents, problems


def _documents(spec: TaskSpec, manager: Any) -> Sequence[Any]:
    try:
        loaded = manager.load([spec.harness])
        tasks = loaded["tasks"]
        task = tasks[spec.harness] if len(tasks) == 1 else None
        documents = list(task.eval_docs) if task is not None else []
    except Exception as error:  # unknown names, data sets that are not there: the harness's errors have no ancestor
        reason = str(error).partition("\n")[0] or type(error).__name__
        hint = "`lm-eval ls tasks` lists its tasks; nothing is fetched during a run, so evaluate once beforehand."
        text = f"the harness cannot load its task '{spec.harness}': {reason}"
        raise InputError(text, where=str(spec.place), hint=hint) from error
    if task is None:
        names = ", ".join(list(tasks)[:5])
        text = f"'{spec.harness}' is a group of {len(tasks)} tasks, not one"
        raise InputError(text, where=str(spec.place), hint=f"name its tasks one by one: {names}, ...")
    return documents


def _facts(config: Config, numbers: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, str]:
    told = {
        "kind": f"lm-eval; nothing was trained by the bench; lm-evaluation-harness {version('lm_eval')}",
        "models": ", ".join(f"{model.label} ({Path(model.path).name})" for model in config.models),
        "questions": f"a share of {SHARE:.0%} of each task, drawn by hash, chooses coefficients and is not scored",
    }
    for spec in config.tasks:
        scored = numbers.get(TEST, {}).get(spec.name) or numbers.get(OUTSIDE, {}).get(spec.name, ())
        shots = "as the task says" if spec.shots is None else str(spec.shots)
        chosen = len(numbers[VALIDATION].get(spec.name, ()))
        told[f"task {spec.name}"] = (
            f"{spec.harness}, shots {shots}: {chosen} questions choose coefficients, {len(scored)} test"
        )
    return told
