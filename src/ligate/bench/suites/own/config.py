"""The YAML of the suite `own`: which models, which tasks, which data. Everything wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ligate.bench.suite import JOINT, PRETRAINED
from ligate.core.errors import RecipeError, raise_all
from ligate.core.suggest import nearest
from ligate.recipe.dialects import ligate_data
from ligate.recipe.dialects.ligate_data import needed
from ligate.recipe.nodes import Item, Reading, read_all
from ligate.recipe.schema import DataKind, Place

Kind = DataKind | Literal["lm-eval"]
KINDS: tuple[Kind, ...] = (*get_args(DataKind), "lm-eval")
Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")

_TOP = ("kind", "name", "models", "tasks", "methods", "length", "include")
_MODELS = (PRETRAINED, "experts", JOINT)
_MODEL = ("path", "examples")
_TASK: Mapping[Kind, tuple[str, ...]] = {
    **{kind: (*ligate_data.TASK[kind], "metric") for kind in get_args(DataKind)},
    "lm-eval": ("task", "metric", "filter", "shots"),
}
_METRIC: Mapping[Kind, str] = {
    "classification": "accuracy",
    "sequence-classification": "accuracy",
    "image-classification": "accuracy",
    "causal-lm": "bits_per_byte",
}
_HOMES = {
    **dict.fromkeys(_TOP, "at the top of the file"),
    **dict.fromkeys((PRETRAINED, "experts", JOINT), "under `models:`"),
    **dict.fromkeys(_MODEL, "in a model"),
    **dict.fromkeys(("data", "dataset", "config", "split", "columns", "classes", "prompts", "metric"), "in a task"),
    **dict.fromkeys(("text", "pair", "label", "source", "image"), "under `columns:`"),
}


class Model(NamedTuple):
    """Where a model lies, as written; `examples` it was trained on, where that is told."""

    label: str
    path: str
    examples: int | None
    place: Place


@dataclass(frozen=True)
class TaskSpec:
    """One task. `files` are a data file or a split's name by part; `share` of a single file becomes validation."""

    name: str
    place: Place
    dataset: str = ""
    config: str = ""
    files: Mapping[Part, str] = field(default_factory=dict)
    share: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    columns_at: Place = Place()
    classes: Mapping[str, str] | None = None  # label in the data -> phrase
    prompts: Sequence[str] = ("a photo of a {}.",)
    harness: str = ""  # the harness's name of the task
    metric: str = ""
    filter: str = ""
    shots: int | None = None


@dataclass(frozen=True)
class Config:
    """`folder` is where the file lies: paths in it start from there."""

    kind: Kind
    name: str
    folder: Path
    pretrained: Model
    experts: Sequence[Model]
    joint: Model | None
    tasks: Sequence[TaskSpec]
    methods: Sequence[str]
    length: int
    include: str = ""  # a folder with tasks that the harness does not bring

    @property
    def models(self) -> Sequence[Model]:
        return [self.pretrained, *([self.joint] if self.joint else []), *self.experts]

    @property
    def same_task(self) -> bool:
        """No expert is named like a task: all were trained for the same."""
        return not {model.label for model in self.experts} & {task.name for task in self.tasks}


def read(path: Path) -> Config:
    """The file as it is meant; `RecipeError` or `Problems` tell all that is wrong with it, by line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RecipeError("is no text in UTF-8", where=str(path)) from None
    except OSError as error:
        hint = "`ligate bench example text.yaml` prints one to start from."
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    return parse(text, path.name, path.parent)


def parse(text: str, name: str, folder: Path) -> Config:
    if not text.strip():
        raise RecipeError("is empty", where=name, hint="`ligate bench example text.yaml` prints one to start from.")
    documents, problems = read_all(text, name)
    reading = Reading()
    reading.problems.extend(problems)
    first, *more = documents
    for document in more:
        reading.problem("a further document (`---`)", document.place, "one file, one comparison")
    config = _config(reading, first, Path(name).stem, folder)
    raise_all(reading.problems)
    return config


def _config(reading: Reading, document: Item, stem: str, folder: Path) -> Config:
    top = reading.fields(document, "the file", _TOP, _HOMES)
    kind = ligate_data.kind_of(reading, needed(reading, top, "kind", document), KINDS)
    item = needed(reading, top, "models", document)
    models = reading.fields(item, "`models`", _MODELS, _HOMES)
    pretrained = _model(reading, PRETRAINED, needed(reading, models, PRETRAINED, item) if item else None)
    found = needed(reading, models, "experts", item) if item else None
    experts = [_model(reading, label, each) for label, each in reading.fields(found, "`experts`").items()]
    asked = needed(reading, top, "tasks", document)
    tasks = [_task(reading, kind, name, each) for name, each in reading.fields(asked, "`tasks`").items()]
    length = reading.whole(top.get("length"), "`length`", ligate_data.LENGTH.get(kind, 0))
    if "length" in top and length < 4:
        reading.problem("`length` must be at least 4 tokens", top["length"].place)
    joint = _model(reading, JOINT, models[JOINT]) if JOINT in models else None
    if found and not reading.problems:
        _pairing(reading, kind, experts, joint, tasks, found.place)
    methods = [reading.text(each, "a method") or "" for each in reading.entries(top.get("methods"), "`methods`")]
    name = reading.text(top.get("name"), "`name`") or stem
    include = reading.text(top.get("include"), "`include`") or ""
    if include and kind != "lm-eval":
        reading.problem("`include:` is for the kind lm-eval", top["include"].place)
    return Config(kind, name, folder, pretrained, experts, joint, tasks, methods, length, include)


def _model(reading: Reading, label: str, item: Item | None) -> Model:
    if item is None or item.value is None:
        if item is not None and not reading.problems:
            reading.problem(f"model `{label}` has no path", item.place)
        return Model(label, "", None, item.place if item else Place())
    if label in (PRETRAINED, JOINT) and isinstance(item.value, (list, tuple)):
        reading.wrong(item, f"`{label}`", "one model")
    if not isinstance(item.value, Mapping):
        return Model(label, reading.text(item, f"model `{label}`") or "", None, item.place)
    fields = reading.fields(item, f"model `{label}`", _MODEL, _HOMES)
    path = reading.text(needed(reading, fields, "path", item), "`path`") or ""
    examples = reading.whole(fields["examples"], "`examples`", 1) if "examples" in fields else None
    if examples is not None and examples < 1:
        reading.problem("`examples` must be 1 or more", fields["examples"].place)
    return Model(label, path, examples, item.place)


def _pairing(
    reading: Reading,
    kind: Kind,
    experts: Sequence[Model],
    joint: Model | None,
    tasks: Sequence[TaskSpec],
    place: Place,
) -> None:
    """Experts belong to tasks by name, or all to the same task."""
    names = [task.name for task in tasks]
    labels = {model.label for model in experts}
    if len(experts) < 2:
        reading.problem("a comparison needs two experts or more", place)
    for model in experts:
        if model.label in (PRETRAINED, JOINT):
            reading.problem(f"an expert cannot be called `{model.label}`", model.place, "name it after its task.")
        elif model.label not in names and labels & set(names):
            hint = f"{nearest(model.label, names)} Experts have the names of their tasks, or none of them has."
            reading.problem(f"expert `{model.label}` has no task of its name", model.place, hint)
    if kind == "sequence-classification":
        if joint:
            reading.problem("a joint model has a head of its own, which no task has", joint.place, "leave it out.")
        for task in tasks:
            if task.name not in labels:
                hint = f"{nearest(task.name, labels)} The head that answers is that of the task's expert."
                reading.problem(f"task `{task.name}` has no expert of its name", task.place, hint)
    told = [model.examples is not None for model in experts]
    if any(told) and not all(told):
        bare = experts[told.index(False)]
        hint = "votes are weighted by it; tell it of all experts or of none."
        reading.problem(f"expert `{bare.label}` does not tell its `examples:`", bare.place, hint)


def _task(reading: Reading, kind: Kind, name: str, item: Item) -> TaskSpec:
    fields = reading.fields(item, f"task `{name}`", _TASK[kind], _HOMES, f"a task of kind {kind} has none")
    metric = _metric(reading, kind, fields.get("metric"))
    if kind == "lm-eval":
        shots = reading.whole(fields["shots"], "`shots`", 0) if "shots" in fields else None
        harness = reading.text(fields.get("task"), "`task`") or name
        chosen = reading.text(fields.get("filter"), "`filter`") or ""
        return TaskSpec(name, item.place, harness=harness, metric=metric, filter=chosen, shots=shots)
    columns, place = ligate_data.columns(reading, kind, fields.get("columns"), item)
    files, share = _files(reading, name, fields, item)
    return TaskSpec(
        name,
        item.place,
        reading.text(fields.get("dataset"), "`dataset`") or "",
        reading.text(fields.get("config"), "`config`") or "",
        files,
        share,
        columns,
        place,
        ligate_data.classes(reading, name, fields.get("classes")),
        ligate_data.prompts(reading, fields.get("prompts")),
        metric=metric,
    )


def _metric(reading: Reading, kind: Kind, item: Item | None) -> str:
    written = reading.text(item, "`metric`")
    only = _METRIC.get(kind)
    if item is not None and written is not None and only and written != only:
        reading.problem(f"a task of kind {kind} is scored by {only}, not by '{written}'", item.place)
    return written or only or "acc"


def _files(
    reading: Reading, name: str, fields: Mapping[str, Item], around: Item
) -> tuple[dict[Part, str], float | None]:
    """A file, or the name of a split, for each part; or one for both and the share that becomes validation."""
    data, dataset, split = (fields.get(key) for key in ("data", "dataset", "split"))
    if data is None and dataset is None:
        if not reading.misspelt(around, "data"):
            reading.problem(f"task `{name}` has no `data:`", around.place, "a CSV, JSONL or Parquet file")
        return {}, None
    if data is not None and dataset is not None:
        reading.problem("both `data:` and `dataset:`", dataset.place, "a file, or a data set by its id")
        return {}, None
    if data is not None and isinstance(data.value, Mapping):
        return _parts(reading, data, "`data`"), None
    if split is None:
        hint = "`split: {validation: 0.2}`; coefficients are chosen on questions that are not scored."
        reading.problem(f"task `{name}` has no validation questions", around.place, hint)
        return {}, None
    if data is not None:
        return {"test": reading.text(data, "`data`") or ""}, _share(reading, split)
    if isinstance(split.value, Mapping) and all(isinstance(each.value, str) for each in split.value.values()):
        return _parts(reading, split, "`split`"), None
    return {"test": "test"}, _share(reading, split)


def _parts(reading: Reading, item: Item, what: str) -> dict[Part, str]:
    fields = reading.fields(item, what, PARTS)
    for part in PARTS:
        needed(reading, fields, part, item)
    return {part: reading.text(fields.get(part), f"`{part}`") or "" for part in PARTS}


def _share(reading: Reading, item: Item) -> float:
    fields = reading.fields(item, "`split`", ("validation",))
    share = reading.number(needed(reading, fields, "validation", item), "`validation`", 0.2)
    if not 0 < share < 1:
        reading.problem("`validation` is a share between 0 and 1", item.place, "0.2 takes a fifth of the questions.")
    return share
