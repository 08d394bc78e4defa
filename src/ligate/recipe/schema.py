"""A recipe as data, whatever dialect it was written in. Parsing makes it, resolving turns it into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ligate.core.errors import LigateError
from ligate.core.space import Sampler, Sought

Value = float | int | bool | str | None
RowKind = Literal["default", "average", "zero", "mean", "model"]
DataKind = Literal["classification", "sequence-classification", "causal-lm", "image-classification"]
MeasuredHow = Literal["exact", "sampled", "empirical", "batch_squared"]


class Place(NamedTuple):
    """Where something stands in a recipe, for messages: `my.yaml:12`."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class AdapterSpec:
    """A LoRA adapter laid over a source; `scale` multiplies the adapter's own scaling."""

    path: str
    revision: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class AlignSpec:
    """A source is brought into the coordinates of another before anything is merged.

    By the saved alignment at `path`; without one, by an alignment that is found between this source and `to`.
    """

    path: str = ""
    to: str | None = None  # label of a source
    method: str = "weights"
    seed: int = 0
    starts: int = 3
    groups: str | None = None  # path of a file that lists the groups of units
    data: str | None = None  # path of a file of inputs, for methods that run the networks


@dataclass(frozen=True)
class SourceSpec:
    """A model as the recipe names it. `path` is a local path, a hub id, or the `name` of an earlier step."""

    label: str
    path: str
    revision: str | None = None
    adapters: tuple[AdapterSpec, ...] = ()
    strip_prefix: str = ""  # leading part of every tensor name that is to be ignored
    alias: Mapping[str, str] = field(default_factory=dict)  # missing tensor -> tensor of the same source to use
    fill: str | None = None  # label of a source whose tensors have more channels: it gives what is missing here
    place: Place = Place()
    align: AlignSpec | None = None


@dataclass(frozen=True)
class Gradient:
    """Values spread over the layers: first layer the first value, last layer the last, linear between them.

    Words and booleans step instead of interpolating. Tensors outside the layers take the first value.
    """

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Setting:
    """One value of one parameter for those tensors and models it speaks of.

    `match` is a glob on the whole tensor name in Ligate's dialect (`*.mlp.*`), a substring in mergekit's
    (`style="substring"`). The first setting that applies wins, so the order of a step's settings is its precedence.
    """

    name: str
    value: Value | Gradient
    model: str | None = None  # label; None speaks of all models
    match: str | None = None
    style: str = "glob"  # or "substring"
    place: Place = Place()
    in_source: bool = False  # `match` looks at the name in the model, which slices renumber, not in the result
    default_of: str = ""  # whose default it is, where the text does not say it: mergekit's `ties`
    written: str = ""  # what the text calls the parameter, where that is not `name`

    @property
    def spoken(self) -> str:
        """What messages call the parameter."""
        return self.written or self.name


@dataclass(frozen=True)
class SliceModel:
    """Layers [start, stop) of one model."""

    model: str
    start: int
    stop: int
    place: Place = Place()


@dataclass(frozen=True)
class Slice:
    """Some layers of the result: the same number of layers from each of the models, merged."""

    models: tuple[SliceModel, ...]
    settings: tuple[Setting, ...] = ()
    method: str | None = None  # None: the step's
    base: str | None = None
    stack: str | None = None  # `encoder` or `model.encoder.layers`, where the models have several stacks of layers
    place: Place = Place()


class MeasuredSpec(NamedTuple):
    """Where tensors lie that a rule takes by keyword besides the models: of one model, or of the step as a whole."""

    name: str  # the keyword
    source: str  # label
    model: str | None = None
    place: Place = Place()


@dataclass(frozen=True)
class Step:
    """One merge. `models` are labels without the base; `slices` make a frankenmerge."""

    method: str
    models: tuple[str, ...]
    base: str | None = None
    name: str | None = None  # under which a later step uses the result as a source
    settings: tuple[Setting, ...] = ()
    slices: tuple[Slice, ...] = ()
    dtype: str | None = None  # of an intermediate result; None: float32, so that only the output rounds
    measured: tuple[MeasuredSpec, ...] = ()
    place: Place = Place()
    whole: bool = True  # False: its text has problems, so what seems to be lacking may only be misspelt


class TokenRow(NamedTuple):
    """Where a token's row comes from in the models that lack it; with `force`, in all models.

    default   the base's row, else the average of the models that have the token
    average   the average of the models that have the token
    zero      zeros
    mean      the average of all other rows of the model itself
    model     a row of `model`: this token's, or that of `other` (a token, or the number of a row)
    """

    token: str
    kind: RowKind = "default"
    model: str | None = None
    other: str | int | None = None
    force: bool = False
    place: Place = Place()


@dataclass(frozen=True)
class Output:
    """What is written. `donor` gives config, tokenizer and code; `dtype` None keeps that of the base or first model.

    With `tokenizer` or `union`, rows of the models' vocabularies are put together by token before they are merged.
    """

    dtype: str | None = None
    shard_bytes: int | None = None  # None: 5 GB; all in one file where the donor is a file
    donor: str | None = None
    tokenizer: str | None = None  # label; None: the donor's
    drop: tuple[str, ...] = ()  # globs on tensor names that are left out on request
    chat_template: str | None = None  # Jinja text for the tokenizer; "auto": the one that most of the models have
    union: bool = False  # the tokenizer of the base or first model, with the tokens of all others
    tokens: tuple[TokenRow, ...] = ()
    row_multiple: int = 1  # of the number of rows of the vocabulary
    like: str | None = None  # label; rows of tokens that a model lacks are sums of its rows of tokens alike in this one
    nearest: int | None = None  # over so many of them; None: over all
    place: Place = Place()


@dataclass(frozen=True)
class SearchSpec:
    """What `ligate search` looks for: parameters of the only step, in the order of the text.

    `places` says where each of them stands. With `front` every task is a goal of its own, else their mean is the goal.
    """

    space: tuple[Sought, ...]
    places: Mapping[str, Place]
    sampler: Sampler = "tpe"
    budget: int = 50
    seed: int = 0
    front: bool = False
    place: Place = Place()


@dataclass(frozen=True)
class DataTask:
    """Examples of one task: a `file`, or a `split` of a data set by its id. `classes`: label in the data -> phrase."""

    name: str
    file: str = ""
    dataset: str = ""
    config: str = ""
    split: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)  # text, pair, label, source, image -> column
    classes: Mapping[str, str] | None = None
    prompts: tuple[str, ...] = ()
    weight: float = 1.0  # how much the task counts; a negative one is to be forgotten
    place: Place = Place()
    columns_at: Place = Place()


@dataclass(frozen=True)
class DataSpec:
    """What a merge is learned or measured from. A task named like a model is what that model was trained for.

    Of the examples `share` decides when to stop, the others are learned from; of labelled ones at most `per_class` are
    used of each class. `test_inputs`: they are those on which the result will be tested. `how`: by what answers Fisher
    information is measured.
    """

    kind: DataKind
    tasks: tuple[DataTask, ...]
    length: int = 0  # tokens after which a text is cut
    share: float = 0.5
    batch: int = 32  # examples at once
    per_class: int | None = None
    test_inputs: bool = False
    how: MeasuredHow | None = None
    place: Place = Place()


@dataclass(frozen=True)
class Recipe:
    """Sources, steps (the last one is the result), output. `notes` are things to tell the user, not errors.

    A recipe with `problems` in its text is never run; what can be made out of it still serves to find further ones.
    """

    sources: Mapping[str, SourceSpec]
    steps: tuple[Step, ...]
    output: Output = Output()
    seed: int = 0
    dialect: str = "ligate"
    notes: tuple[str, ...] = ()
    problems: tuple[LigateError, ...] = ()
    names_known: bool = True  # False: problems of sources or output may change which tensors there are
    data: DataSpec | None = None
    search: SearchSpec | None = None
    learned: Mapping[str, Any] = field(default_factory=dict)  # how its numbers were learned; decides nothing

    @property
    def measured(self) -> frozenset[str]:
        """Labels of sources that are no models, but were measured on models."""
        return frozenset(spec.source for step in self.steps for spec in step.measured)
