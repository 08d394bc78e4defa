"""Build a mixture of experts from dense models, in the layout of checkpoints that inference engines read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ligate.core.errors import InputError, LigateError, RecipeError, raise_all
from ligate.core.tensors import Source, spoken_dtype, torch_name
from ligate.engine import record as records
from ligate.engine.forecast import Forecast, forecast
from ligate.engine.record import Record, StepRecord, step_record
from ligate.engine.run import run
from ligate.io.documents import read_object
from ligate.io.memory import MemorySource
from ligate.io.noise import Noisy
from ligate.io.sidecars import find_sidecars, place_sidecars
from ligate.io.writer import FolderSink
from ligate.methods import _catalogue
from ligate.recipe.expert_layouts import Layout, config_edits, layout_of
from ligate.recipe.mixture import HIDDEN, RANDOM, Expert, Mixture, mixture_text, read_mixture
from ligate.recipe.mixture_plan import MADE, MixturePlan, mixture_plan, noisy_label
from ligate.recipe.parse import data_text
from ligate.recipe.schema import Recipe

from .beside import file_digests, write_file
from .given import Size, given_bytes
from .growing import growing
from .mixture_card import NAME as CARD
from .mixture_card import mixture_card
from .outcome import parents, versions
from .preflight import SIDECARS
from .routing import alike, gates
from .sources import Sources, flat, is_local, open_spec
from .watch import Nobody, Watch
from .workplace import put_back

if TYPE_CHECKING:
    from torch import Tensor

GivenMixture: TypeAlias = "str | PathLike[str] | Mapping[str, Any]"


@dataclass(frozen=True)
class Mixed:
    """What came of it."""

    out: str
    layout: str
    experts: int
    per_token: int
    tensors: int
    nbytes: int
    digest: str | None
    notes: tuple[str, ...]


class _How(NamedTuple):
    """What changes how the work runs, never what comes out (but for digests)."""

    memory: int | None
    threads: int | None
    hashing: bool


@dataclass(frozen=True)
class _Undertaking:
    """A mixture before anything is written: all of it known but the gates."""

    mixture: Mixture
    layout: Layout
    config: Mapping[str, Any]  # of the base
    edits: Mapping[str, Any]  # what the mixture's says differently
    planned: MixturePlan
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        """Layers and width of the hidden states."""
        return self.config["num_hidden_layers"], self.config["hidden_size"]


def moe(
    config: GivenMixture,
    out: str | PathLike[str],
    *,
    dtype: str | None = None,
    seed: int = 0,
    shard_size: Size = 5_000_000_000,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    hashing: bool = True,
    watch: Watch | None = None,
) -> Mixed:
    """Write into the folder `out` the mixture that `config` describes: a path, or the same as plain data.

    Weights are streamed; only gates from hidden states load a model, the base, through transformers. `seed` serves
    random gates and noise. The folder appears when it is complete, with a ligate.json that `verify` checks.

    Raises:
        RecipeError, InputError, NonFiniteError, StorageError, Problems: nothing is left behind.
    """
    how = _How(None if memory is None else given_bytes(memory), threads, hashing)
    watch, out = watch or Nobody(), Path(out)
    if note := put_back(out):
        watch.note(note)
    mixture = _with_dtype(_given(config), dtype)
    sources, found = _opened(mixture)
    with closing(sources):
        raise_all([*mixture.problems, *found])
        job = _planned(mixture, sources, seed, given_bytes(shard_size, "--shard-size"))
        cost, readers = _readers(job, sources)
        with growing(out, sources, cost.written + SIDECARS, overwrite=overwrite) as folder:
            gate = _gates(job, sources)
            readers[MADE] = _made(job, gate)
            notes = tuple(_notes(job, sources, gate))
            for note in notes:
                watch.note(note)
            watch.begin("mixing", cost.read + cost.written)
            try:
                step = _run(job, readers, folder, how, watch)
            finally:
                watch.end()
            record = _finished(job, sources, step, folder)
    return Mixed(
        out=str(out),
        layout=job.layout.id,
        experts=len(mixture.experts),
        per_token=mixture.chosen,
        tensors=len(record.tensors),
        nbytes=cost.written,
        digest=record.digest(),
        notes=notes,
    )


def _given(config: GivenMixture) -> Mixture:
    if isinstance(config, Mapping):
        return mixture_text(data_text(config))
    return read_mixture(Path(config))


def _with_dtype(mixture: Mixture, dtype: str | None) -> Mixture:
    if dtype is None:
        return mixture
    name = spoken_dtype(dtype)
    if name is None:
        raise RecipeError(f"`{dtype}` is no dtype that can be written", where="--dtype", hint="bfloat16, float32 ...")
    return replace(mixture, dtype=name)


def _opened(mixture: Mixture) -> tuple[Sources, list[LigateError]]:
    sources, found = Sources(), list[LigateError]()
    for label, spec in mixture.sources.items():
        try:
            sources[label] = open_spec(spec)
        except LigateError as error:
            found += [one.inside(source=f"{label} of {spec.place}") for one in flat(error)]
    return sources, found


def _planned(mixture: Mixture, sources: Sources, seed: int, shard_bytes: int) -> _Undertaking:
    """Everything that headers and configs can tell."""
    base = sources[mixture.base]
    config = _config(base)
    if mixture.gate_mode in HIDDEN and mixture.sources[mixture.base].adapters:
        hint = "merge it first, or choose `gate_mode: cheap_embed`."
        raise InputError("hidden states of a model with an adapter cannot be computed", where=base.label, hint=hint)
    _require_kin(mixture, sources, config)
    layout = layout_of(mixture, config, str(base.folder))
    headers = {label: source.headers() for label, source in sources.items()}
    hidden = config.get("hidden_size")
    if not isinstance(hidden, int) or not isinstance(config.get("num_hidden_layers"), int):
        raise InputError("config.json tells neither `hidden_size` nor `num_hidden_layers`", where=str(base.folder))
    planned = mixture_plan(mixture, layout, headers, hidden=hidden, shard_bytes=shard_bytes, seed=seed)
    found, told = sorted(planned.making.gates), config["num_hidden_layers"]
    if found != list(range(len(found))) or len(found) != told:
        last = f", the last of them number {found[-1]}" if found else ""
        text = f"config.json tells of {told} layers, the weights have {len(found)} with a feed-forward{last}"
        raise InputError(text, where=str(base.folder), hint="is the model complete?")
    edits = config_edits(layout, mixture, config, planned.making.shared_width)
    if mixture.dtype:
        edits["torch_dtype"] = torch_name(mixture.dtype)
    return _Undertaking(mixture, layout, config, edits, planned, seed)


def _config(source: Source) -> Mapping[str, Any]:
    path = source.folder / "config.json" if source.folder else None
    if path is None or not path.is_file():
        hint = "name the folder of a transformers model."
        raise InputError("there is no config.json", where=source.label, hint=hint)
    return read_object(path)


def _require_kin(mixture: Mixture, sources: Sources, config: Mapping[str, Any]) -> None:
    """Experts stand between the base's layers: they must compute the same function of other weights."""
    found: list[LigateError] = []
    for expert in (*mixture.experts, *mixture.shared):
        own = _config(sources[expert.model])
        for key in ("model_type", "hidden_act"):
            if own.get(key, "silu") != config.get(key, "silu"):
                text = f"its `{key}` is {own.get(key)}, that of {mixture.base} is {config.get(key)}"
                hint = "experts are models of the same architecture."
                found.append(InputError(text, where=f"{expert.model} of {expert.place}", hint=hint))
    raise_all(list({str(error): error for error in found}.values()))


def _readers(job: _Undertaking, sources: Sources) -> tuple[Forecast, dict[str, Source]]:
    """The sources of the plan by label, what is to be made as zeros for now; and what the work will cost."""
    readers: dict[str, Source] = dict(sources)
    for kind, experts in (("expert", job.mixture.experts), ("shared expert", job.mixture.shared)):
        for number, expert in enumerate(experts, 1):
            if expert.noise:
                label = noisy_label(expert.model, number, kind)
                readers[label] = Noisy(sources[expert.model], label, expert.noise, job.seed)
    trial = {**readers, MADE: _made(job, None)}
    plan = job.planned.plan
    return forecast(plan, [trial[label] for label in plan.sources], _catalogue.load), readers


def _gates(job: _Undertaking, sources: Sources) -> Tensor:
    """[layers, experts, hidden], the shared expert's behind the others."""
    mixture = job.mixture
    shared = mixture.shared if _shared_has_gate(mixture) else ()
    experts: tuple[Expert, ...] = (*mixture.experts, *shared)
    return gates(mixture.gate_mode, experts, sources[mixture.base], *job.size, job.seed)


def _shared_has_gate(mixture: Mixture) -> bool:
    """Without prompts of its own the gate of a shared expert stays zero: it is half open for every token."""
    return bool(mixture.shared) and (mixture.gate_mode in RANDOM or bool(mixture.shared[0].positive))


def _made(job: _Undertaking, found: Tensor | None) -> MemorySource:
    """Gates and zeros as a source."""
    import torch

    layers, hidden = job.size
    making, count = job.planned.making, len(job.mixture.experts)
    gate = torch.zeros(layers, count, hidden) if found is None else found
    tensors = {name: gate[layer, :count].contiguous() for layer, name in making.gates.items()}
    for layer, name in making.shared_gates.items():
        own = gate[layer, count:]
        tensors[name] = own.contiguous() if len(own) else torch.zeros(1, hidden)
    tensors |= {name: torch.zeros(shape) for name, shape in making.zeros.items()}
    return MemorySource(MADE, tensors)


def _notes(job: _Undertaking, sources: Sources, gate: Tensor) -> list[str]:
    mixture, found = job.mixture, list[str]()
    if len({expert.model for expert in mixture.experts}) == 1 and not any(one.noise for one in mixture.experts):
        found.append("all experts are the same model: without training the mixture computes what the model does.")
    if mixture.gate_mode in RANDOM:
        found.append("random gates send tokens anywhere: train them before use.")
    for one, other, layers in alike(gate[:, : len(mixture.experts)]) if mixture.gate_mode not in RANDOM else ():
        found.append(f"experts {one} and {other} can hardly be told apart in {layers} layers: their prompts are alike.")
    sizes = {label: _config(sources[label]).get("vocab_size") for label in mixture.sources}
    found += [
        f"{label} has a vocabulary of {size}, {mixture.base} one of {sizes[mixture.base]}: its experts read tokens "
        "that they were not trained on."
        for label, size in sizes.items()
        if size != sizes[mixture.base]
    ]
    return found


def _run(job: _Undertaking, readers: Mapping[str, Source], folder: Path, how: _How, watch: Watch) -> StepRecord:
    """Stream the weights into the folder."""
    plan = job.planned.plan
    headers = {out.name: out.header for out in plan.outs}
    with closing(FolderSink(folder, headers, shard_bytes=plan.shard_bytes, metadata=plan.metadata)) as sink:
        results = run(
            plan,
            [readers[label] for label in plan.sources],
            _catalogue.load,
            sink,
            **how._asdict(),
            progress=watch.advance,
        )
        sink.finish(fsync=False)  # the folder is synced as a whole before it gets its name
    return step_record(plan, plan.digest(), None, results, _catalogue.load)


def _finished(job: _Undertaking, sources: Sources, step: StepRecord, folder: Path) -> Record:
    """Configuration, tokenizer, model card and record beside the weights."""
    plan, mixture = job.planned.plan, job.mixture
    if base := sources[mixture.base].folder:
        place_sidecars(find_sidecars(base, config_edits=job.edits), folder)
    facts = {label: _facts(mixture, label) for label in plan.sources}
    draft = Record(_versions(mixture), _told(job), facts, (step,), plan.metadata, {})
    family = parents(Recipe(mixture.sources, ()), sources)
    write_file(folder / CARD, mixture_card(draft, family, job.layout, mixture))
    record = replace(draft, files=file_digests(folder))
    write_file(folder / records.NAME, records.to_text(record))
    return record


def _versions(mixture: Mixture) -> dict[str, str]:
    """Of everything that takes part in the arithmetic; prompts go through transformers."""
    by_prompts = {} if mixture.gate_mode in RANDOM else {"transformers": version("transformers")}
    return {**versions(), **by_prompts}


def _facts(mixture: Mixture, label: str) -> dict[str, Any]:
    """What a stranger needs to find the model again: nothing for a local path."""
    spec = mixture.sources.get(label)
    if spec is None or is_local(spec.path):
        return {}
    return {"hub": spec.path, **({"revision": spec.revision} if spec.revision else {})}


def _told(job: _Undertaking) -> dict[str, Any]:
    """The config with every default written out and labels for paths."""
    mixture = job.mixture

    def expert(one: Expert) -> dict[str, Any]:
        return {
            "source_model": one.model,
            "positive_prompts": list(one.positive),
            "negative_prompts": list(one.negative),
            "noise_scale": one.noise,
            "residual_scale": one.residual,
        }

    return {
        "base_model": mixture.base,
        "architecture": job.layout.id,
        "gate_mode": mixture.gate_mode,
        "experts_per_token": mixture.chosen,
        **({"dtype": torch_name(mixture.dtype)} if mixture.dtype else {}),
        "experts": [expert(one) for one in mixture.experts],
        **({"shared_experts": [expert(one) for one in mixture.shared]} if mixture.shared else {}),
        "seed": job.seed,
    }
