"""Statistics that a rule takes as measured operands, measured from a recipe's `data:` on every model; the rest is an
ordinary recipe with `measured:`."""

from __future__ import annotations

import resource
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.io.checkpoint import SafetensorsFile
from ligate.io.saving import save_tensors
from ligate.recipe.review import review
from ligate.recipe.schema import DataSpec, Gradient, MeasuredHow, MeasuredSpec, Recipe, Setting, SourceSpec, Step
from ligate.tasks.digests import digest_of
from ligate.tasks.loading import require_transformers
from ligate.tasks.network import Network, frozen_but, network_of

from .canonical import Lookup, as_yaml, canonical
from .learning_data import Examples, counted, in_batches
from .lesson import Streamed, examples_of, folder_of, places_of, wanted_of
from .sources import absolute
from .stamps import stamps
from .undertaking import How, Undertaking, undertaking
from .watch import Watch
from .workplace import beside, write_text

if TYPE_CHECKING:
    from ligate.learn.measuring import Measured
    from ligate.learn.objectives import Batch

PLUS = "learn/regmean_pp"
_RULES = {"merge/fisher": "fisher", "merge/regmean": "grams", PLUS: "grams"}
_STAND_IN = "merge/linear"
_KEY = "key"


def is_measured(recipe: Recipe, lookup: Lookup) -> bool:
    """Whether the rule of a recipe is to be given what `data:` tells, which nobody has measured yet."""
    if recipe.data is None or recipe.search or len(recipe.steps) != 1 or recipe.steps[0].measured:
        return False
    return _rule(recipe, lookup) in _RULES


def _rule(recipe: Recipe, lookup: Lookup) -> str:
    method = recipe.steps[0].method
    if method in (PLUS, "regmean_pp"):
        return PLUS
    try:
        return lookup(method).id
    except LigateError:
        return method


@dataclass(frozen=True)
class Ground:
    """What measuring takes.

    Args:
        names: model -> parameter of the network -> the model's tensor.
        settings: parameters of the rule that hold for all models and tensors.
    """

    rule: str
    data: DataSpec
    job: Undertaking
    network: Network
    examples: Mapping[str, Examples]
    names: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, Any]

    @property
    def keyword(self) -> str:
        return _RULES[self.rule]

    @property
    def how(self) -> MeasuredHow:
        """Networks of transformers are asked one example after the other, where an expectation takes a backward pass
        for each class."""
        return self.data.how or "sampled"

    def task_of(self, model: str) -> str:
        """That of its name, or the one that all share."""
        return model if model in self.examples else next(iter(self.examples))

    def batches(self, model: str) -> list[Batch]:
        from ligate.learn.objectives import Batch

        task = self.task_of(model)
        asked = [*self.examples[task].learning, *self.examples[task].stopping]
        alone = self.keyword == "fisher" and self.data.kind == "causal-lm"  # texts of one batch have not equal answers
        size = 1 if alone and self.how != "batch_squared" else self.data.batch
        told = [self.network.examples(task, some) for some in in_batches(asked, size)]
        return [Batch(inputs, right if self.how == "empirical" else None) for inputs, right in told]

    def ask(self, model: str) -> Any:
        return lambda inputs: self.network.ask(self.task_of(model), inputs)

    def weights(self, model: str) -> Streamed:
        return Streamed(self.job.sources[model], self.names[model])


@contextmanager
def ground(recipe: Recipe, out: Path | None, how: How, lookup: Lookup) -> Generator[Ground]:
    """Everything checked and open.

    Raises:
        RecipeError, InputError, StorageError, Problems: as `lesson`; or a model has no task of its name.
    """
    step, data, rule = recipe.steps[0], recipe.data, _rule(recipe, lookup)
    if data is None:
        raise InputError("there is nothing to measure on")
    as_measured = _measured_by(recipe, rule, dict.fromkeys(step.models, ""))
    problems = [*_unfit(data, step.models, _RULES[rule]), *review(as_measured, lookup)]
    stand_in = replace(step, method=_STAND_IN, settings=(Setting("weight", 1.0),), base=None)
    planned = replace(recipe, steps=(stand_in,), data=None, problems=(*recipe.problems, *problems))
    with undertaking(planned, out, how, lookup) as job:
        require_transformers(data.place)
        folder = folder_of(job, step.models[0])
        examples = examples_of(data, job, labelled=data.how == "empirical" and data.kind != "causal-lm")
        network = network_of(data.kind, folder, wanted_of(data, step.models, job, examples), data.length, data.place)
        merged = {out.name: out for out in job.stages[0].plan.outs if out.method is not None}
        places = places_of(network, merged)
        frozen_but(network.module, places)
        names = {
            model: {name: merged[place].tuned[number].name for name, place in places.items()}
            for number, model in enumerate(step.models)
        }
        yield Ground(rule, data, job, network, examples, names, _plain(step))


def _plain(step: Step) -> dict[str, Any]:
    return {
        one.name: one.value
        for one in reversed(step.settings)
        if one.model is None and one.match is None and not isinstance(one.value, Gradient)
    }


def _measured_by(recipe: Recipe, rule: str, labels: Mapping[str, str]) -> Recipe:
    """The recipe with measured operands, by model."""
    specs = tuple(MeasuredSpec(_RULES[rule], label, model) for model, label in labels.items())
    step = replace(recipe.steps[0], method="merge/regmean" if rule == PLUS else rule, measured=specs)
    return replace(recipe, steps=(step,))


def _unfit(data: DataSpec, models: Sequence[str], keyword: str) -> list[LigateError]:
    names = [task.name for task in data.tasks]
    shared = len(names) == 1 and names[0] not in models  # by all models
    problems: list[LigateError] = []
    for model in models:
        if model not in names and not shared:
            hint = f"{nearest(model, names)} Tasks have the names of their models, or one task serves all."
            problems.append(RecipeError(f"model `{model}` has no task of its name", where=str(data.place), hint=hint))
    for key, given in (
        ("per_class", data.per_class),
        ("test_inputs", data.test_inputs),
        ("how", data.how if keyword != "fisher" else None),
    ):
        if given:
            problems.append(RecipeError(f"`{key}` says nothing where statistics are measured", where=str(data.place)))
    return problems


def measured(recipe: Recipe, out: Path, how: How, lookup: Lookup, watch: Watch) -> Recipe:
    """The recipe with what it needs measured, which lies in `OUT.learned` from then on and is used again."""
    with ground(recipe, out, how, lookup) as taken:
        folder, models = beside(out, ".learned"), recipe.steps[0].models
        folder.mkdir(parents=True, exist_ok=True)
        files = {model: folder / f"{taken.keyword}-{model}.safetensors" for model in models}
        keys = {model: _key(taken, model if taken.rule != PLUS else " ".join(models)) for model in models}
        if not all(_holds(files[model], keys[model]) for model in models):
            for model, found in _measurements(taken, models, watch, files, keys):
                tensors = {
                    taken.names[model][name]: one for name, one in found.tensors.items() if name in taken.names[model]
                }
                save_tensors(tensors, files[model], {**found.metadata, _KEY: keys[model]})
        else:
            watch.note(f"measured before on the same data and models: {folder} is used again")
        finished = _with_measured(recipe, taken, files)
        write_text(
            folder / "recipe.yaml", as_yaml(canonical(finished, lookup, lambda spec, label: absolute(spec.path)))
        )
        return finished


def _measurements(
    taken: Ground, models: Sequence[str], watch: Watch, files: Mapping[str, Path], keys: Mapping[str, str]
) -> Generator[tuple[str, Measured]]:
    """Model by model, so that an interruption loses one; RegMean++ measures all at once."""
    if taken.rule == PLUS:
        yield from zip(models, _behind_merged_blocks(taken, models), strict=True)
        return
    if taken.keyword == "fisher" and taken.data.how is None:
        watch.note("fisher by one drawn answer of each example; `how: exact` in `data:` takes a pass for each class")
    watch.begin_steps("measuring", len(models))
    for number, model in enumerate(models, 1):
        if not _holds(files[model], keys[model]):
            yield model, _measure(taken, model)
        watch.step(number, f"{taken.keyword} of {model}")
    watch.end()


def _measure(taken: Ground, model: str) -> Measured:
    import torch

    from ligate.learn.measuring import fisher, grams

    module, weights = taken.network.module, taken.weights(model)
    with torch.no_grad():
        for name, one in module.named_parameters():
            one.copy_(weights[name])
    if taken.keyword == "grams":
        return grams(module, taken.ask(model), taken.batches(model))
    return fisher(module, taken.ask(model), taken.batches(model), taken.how)


def _behind_merged_blocks(taken: Ground, models: Sequence[str]) -> list[Measured]:
    from ligate.learn.regmean_pp import regmean_pp
    from ligate.methods.merge.regmean import regmean

    return regmean_pp(
        taken.network.module,
        [taken.weights(model) for model in models],
        [taken.ask(model) for model in models],
        [taken.batches(model) for model in models],
        lambda tuned, grams: regmean(None, tuned, grams=grams, **taken.settings),
    )


def _key(taken: Ground, model: str) -> str:
    """Of all that decides what is measured."""
    asked = [f"{name} {one.digest}" for name, one in taken.examples.items()]
    files = [repr(stamp) for stamp in stamps(taken.job.sources, ())]
    settings = dict(taken.settings) if taken.rule == PLUS else {}
    how = taken.how if taken.keyword == "fisher" else ""
    told = (taken.rule, model, taken.data.kind, taken.data.length, taken.data.batch, settings, how)
    return digest_of([repr(told), *asked, *files])


def _holds(path: Path, key: str) -> bool:
    """Whether a file is there that was measured under this key."""
    if not path.is_file():
        return False
    try:
        with closing(SafetensorsFile(path, path.name)) as source:
            return source.metadata().get(_KEY) == key
    except LigateError:
        return False


def _with_measured(recipe: Recipe, taken: Ground, files: Mapping[str, Path]) -> Recipe:
    labels = {model: f"{model}+{taken.keyword}" for model in files}
    sources = {labels[model]: SourceSpec(labels[model], str(path)) for model, path in files.items()}
    account = {
        "measured": taken.keyword,
        "by": taken.rule,
        **({"how": taken.how} if taken.keyword == "fisher" else {}),
        "data": {
            "kind": taken.data.kind,
            "length": taken.data.length,
            "batch": taken.data.batch,
            "labels": "used" if taken.how == "empirical" else "not used",
            "tasks": counted(taken.examples),
        },
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    return replace(
        _measured_by(recipe, taken.rule, labels), sources={**recipe.sources, **sources}, data=None, learned=account
    )
