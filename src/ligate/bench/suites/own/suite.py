"""`own`: the comparison for the user's own networks and data, which a YAML file names. Nothing is trained.

Everything the file says is checked before anything is merged. Which questions a tier asks is drawn by hash, so a run
asks the same questions again, and a smaller tier asks a part of what a larger one asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ligate.bench.contestants import Rule, merged
from ligate.bench.encoder import embed
from ligate.bench.encoder import load as load_encoder
from ligate.bench.results import Results
from ligate.bench.suite import (
    ACCURACY,
    BITS_PER_BYTE,
    OUTSIDE,
    PRETRAINED,
    TEST,
    VALIDATION,
    Request,
    Scale,
    Teller,
    Tier,
    World,
)
from ligate.bench.suites.own import causal as own_causal
from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import data as own_data
from ligate.bench.suites.own import harness as own_harness
from ligate.bench.suites.own import images as own_images
from ligate.bench.suites.own import models as own_models
from ligate.bench.suites.own import sequences as own_sequences
from ligate.bench.suites.own.config import Config
from ligate.bench.suites.own.data import TaskData
from ligate.bench.suites.own.stage import Stage, people, tasks_of
from ligate.bench.suites.own.worlds import Graded
from ligate.bench.texts import Question
from ligate.bench.textworld import DROPPED, TYPOS, TextWorld, damaged
from ligate.bench.tournament import tournament
from ligate.core.errors import LigateError, Problems, RecipeError, raise_all
from ligate.methods import _catalogue
from ligate.tasks import causal, sequences
from ligate.tasks.questions import Asked, Picture

METHODS = ("task_arithmetic", "ties", "dare_linear", "tsv_m", "iso_c")
_ALL = 1 << 40
SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale((0,), 4, {"questions": 50}),
    "standard": Scale((0,), 10, {"questions": 300}),
    "full": Scale((0,), 12, {"questions": _ALL}),
}
# Whose rules draw at random, so that a seed says something.
DRAWING = frozenset({"merge/dare_linear", "merge/dare_ties", "merge/della", "merge/della_linear"})

Questions = dict[str, dict[str, list[Asked]]]


def play(request: Request, tell: Teller) -> Results:
    """Raises RecipeError, InputError or Problems for anything wrong with the file, the data or the models."""
    config = own_config.read(Path(request.suite).expanduser())
    methods = tuple(request.methods or config.methods or METHODS)
    _sensible(request, methods)
    tell.says(f"{config.name}: reading data and models")
    limit = SCALES[request.tier].sizes["questions"]
    stage = own_harness.prepare(config, limit) if config.kind == "lm-eval" else prepare(config, request.store, limit)
    named = request._replace(suite=config.name, methods=methods)
    return tournament(
        named, tell, lambda asked, seed, told: stage.world(seed), methods, stage.facts, metric=stage.metric
    )


def prepare(config: Config, store: Path, limit: int) -> Stage:
    """Data and models, read and checked against each other."""
    folders, problems = own_models.located(config)
    if config.kind == "image-classification":
        own_images.required(config)
    data: dict[str, TaskData] = {}
    for task in config.tasks:
        try:
            labels = _labels(config, folders.get(task.name))
            data[task.name] = own_data.load(config, task, labels)
        except Problems as error:
            problems += error.found
        except LigateError as error:
            problems.append(error)
    raise_all(problems)
    questions = asked(config, data, limit)
    make = {
        "classification": _encoders,
        "sequence-classification": _sequences,
        "image-classification": _images,
        "causal-lm": _causal,
    }[config.kind]
    world = make(config, store, folders, data, questions)
    metric = BITS_PER_BYTE if config.kind == "causal-lm" else ACCURACY
    return Stage(world, partial(facts, config, data, questions), metric)


def asked(config: Config, data: Mapping[str, TaskData], limit: int) -> Questions:
    """The papers: at most `limit` questions of a task on each."""
    labels = {model.label for model in config.experts}
    inside = [task.name for task in config.tasks if config.same_task or task.name in labels]
    outside = [task.name for task in config.tasks if task.name not in inside]
    found: Questions = {
        VALIDATION: {name: list(data[name].questions["validation"][:limit]) for name in inside},
        TEST: {name: list(data[name].questions["test"][:limit]) for name in inside},
    }
    if outside:
        found[OUTSIDE] = {name: list(data[name].questions["test"][:limit]) for name in outside}
    if config.kind in ("classification", "sequence-classification"):
        for how in (TYPOS, DROPPED):
            found[how] = {name: [_worn(one, how) for one in each] for name, each in found[TEST].items()}
    return found


def facts(config: Config, data: Mapping[str, TaskData], questions: Questions, world: World) -> dict[str, str]:
    """What was measured on what, in words."""
    numbers = sum(value.numel() for value in world.state(PRETRAINED).values() if value.is_floating_point())
    told = {
        "kind": f"{config.kind}; nothing was trained by the bench",
        "models": f"{_name(config.pretrained)} and {', '.join(_name(model) for model in config.experts)}; "
        f"{numbers / 1e6:.1f} M merged parameters each",
        "heads": _HEADS[config.kind],
    }
    for spec in config.tasks:
        one = data[spec.name]
        source = spec.dataset or " and ".join(dict.fromkeys(Path(name).name for name in spec.files.values()))
        both = f"; {one.dropped} validation questions left out, as their source is tested" if one.dropped else ""
        paper = TEST if spec.name in questions[TEST] else OUTSIDE
        count = len(questions[VALIDATION].get(spec.name, ()))
        told[f"task {spec.name}"] = (
            f"{source}: {count} questions choose coefficients, {len(questions[paper][spec.name])} test"
            f"{both} (digest {one.digest})"
        )
    return told


_HEADS: Mapping[str, str] = {
    "classification": "frozen: the pretrained network's embedding of a phrase per class; logits are 20 x cosine",
    "sequence-classification": "not merged: each task is answered by the head of its own expert on the merged body",
    "image-classification": "frozen: the pretrained text tower's mean vector of the prompts per class",
    "causal-lm": "merged like all other tensors",
}


def _name(model: own_config.Model) -> str:
    return f"{model.label} ({Path(model.path).name})"


def _labels(config: Config, folder: Path | None) -> Sequence[str] | None:
    if config.kind != "sequence-classification" or folder is None:
        return None
    return sequences.classes_of(folder)


def _worn(one: Asked, how: str) -> Asked:
    """The same question with its texts damaged."""
    if isinstance(one.content, Picture):
        return one
    parts = damaged({"": [Question(text, "", 0) for text in one.content]}, how)[""]
    return one._replace(content=tuple(part.text for part in parts))


# Worlds


def _encoders(
    config: Config, store: Path, folders: Mapping[str, Path], data: Mapping[str, TaskData], questions: Questions
) -> Callable[[int], World]:
    raise_all(own_models.check_tensors([(model, folders[model.label]) for model in config.models]))
    own_models.check_encoder(config.pretrained, folders[PRETRAINED])
    encoder = load_encoder(folders[PRETRAINED])
    heads = {name: embed(encoder, encoder.tokens(one.phrases, config.length)) for name, one in data.items()}
    papers = {
        paper: {task: [Question(one.key, one.source, one.answer) for one in some] for task, some in each.items()}
        for paper, each in questions.items()
    }
    tasks = tasks_of(config, {name: len(one.labels) for name, one in data.items()})
    experts, others = people(
        config, {model.label: own_models.trained(model, folders[model.label]) for model in config.models}
    )
    return lambda seed: TextWorld(seed, tasks, experts, others, encoder, heads, papers, config.length)


def _sequences(
    config: Config, store: Path, folders: Mapping[str, Path], data: Mapping[str, TaskData], questions: Questions
) -> Callable[[int], World]:
    classes = {name: len(one.labels) for name, one in data.items()}
    network, parts = own_sequences.prepare(config, folders, classes, store)
    experts, others = people(config, parts)
    return lambda seed: Graded(seed, tasks_of(config, classes), experts, others, network, questions)


def _images(
    config: Config, store: Path, folders: Mapping[str, Path], data: Mapping[str, TaskData], questions: Questions
) -> Callable[[int], World]:
    network, parts = own_images.prepare(config, folders, data, store)
    experts, others = people(config, parts)
    tasks = tasks_of(config, {name: len(one.labels) for name, one in data.items()})
    return lambda seed: Graded(seed, tasks, experts, others, network, questions)


def _causal(
    config: Config, store: Path, folders: Mapping[str, Path], data: Mapping[str, TaskData], questions: Questions
) -> Callable[[int], World]:
    raise_all(own_models.check_tensors([(model, folders[model.label]) for model in config.models]))
    causal.check(config.pretrained.label, config.pretrained.place, folders[PRETRAINED])
    experts, others = people(
        config, {model.label: own_models.trained(model, folders[model.label]) for model in config.models}
    )
    tasks = tasks_of(config, dict.fromkeys(data, 0))
    origin, length = folders[PRETRAINED], config.length
    return lambda seed: own_causal.CausalWorld(seed, tasks, experts, others, origin, length, questions)


def _sensible(request: Request, methods: Sequence[str]) -> None:
    if request.model is not None:
        raise RecipeError("the file names the pretrained model, and `--model` another", where=request.suite)
    kinds = [merged(method).kind for method in methods]  # tells of misspelt methods before models are read
    if len(request.seeds) > 1 and not any(draws(kind.method) for kind in kinds if isinstance(kind, Rule)):
        raise RecipeError(
            f"{len(request.seeds)} seeds would give the same numbers {len(request.seeds)} times: nothing is trained "
            "here, and none of the methods draws at random",
            where=request.suite,
            hint="leave `--seeds` out, or compare a method that draws, such as dare_linear.",
        )


def draws(method: str) -> bool:
    """Whether the seed of a recipe can change what the method gives."""
    card = _catalogue.load(method)
    return card.id in DRAWING or (card.foreign and card.takes_site)
