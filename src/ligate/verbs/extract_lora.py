"""What a model learned since its base, as a LoRA adapter: the best low-rank approximation of every changed weight."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, RecipeError
from ligate.core.tensors import Header, Source, spoken_dtype, torch_name
from ligate.core.version import __version__
from ligate.io.adapter_config import CONFIG
from ligate.io.adapter_layout import ROOT, AdapterFacts, Factors, adapter_config, factors, module_of
from ligate.io.documents import read_object
from ligate.io.writer import FolderSink
from ligate.recipe.findings import counted, listed
from ligate.recipe.vocabulary_tensors import vocabulary_tensors

from .beside import write_file
from .changes import BLOCK, Change, Pair, architecture_of, matches, pair, refuse_changed, refuse_idle
from .factors import Factored, Spool, Wish, bytes_for, factored
from .given import Size, given_bytes
from .growing import growing
from .opening import labels_of
from .parallel import each, workers
from .preflight import SIDECARS
from .sources import Sources, is_local, open_spec, source_spec
from .watch import Nobody, Watch
from .workplace import put_back

REPORT = "extraction.json"
_DTYPES = ("F32", "BF16", "F16")
_ONE_FILE = 1 << 62  # bytes: PEFT reads an adapter from a single file


@dataclass(frozen=True)
class Approximation:
    """How well the adapter gives the change of one weight. Errors count the rounding of the stored factors."""

    name: str
    shape: tuple[int, ...]
    rank: int
    full_rank: int
    change: float  # Frobenius norm of the difference
    error: float  # Frobenius norm of what the adapter lacks of it, over `change`
    kept: float  # share of the squared norm that the rank keeps
    how: str


@dataclass(frozen=True)
class Extracted:
    """An adapter, and what it does not hold."""

    out: str
    tensors: tuple[Approximation, ...]
    whole: tuple[str, ...]  # stored as they are
    left_out: Mapping[str, float]  # changed tensors that the adapter says nothing of, with the norm of their change
    unchanged: int
    dtype: str
    parameters: int
    error: float  # norm of all that the adapter lacks over the norm of all changes
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """The two models, what they share, and what was asked for."""

    tuned: Source
    base: Source
    pair: Pair
    wish: Wish
    whole: tuple[str, ...]  # names of tensors to be stored as they are if they changed

    @property
    def low(self) -> Sequence[str]:
        return [name for name in self.pair.low if name not in self.whole]

    def change(self, name: str) -> Change:
        return Change(name, self.tuned, self.base)

    def holder(self, name: str) -> Source:
        """Whose numbers are stored of a tensor of a module stored in full: the base's where it is to be left out."""
        return self.tuned if name in self.pair.names else self.base


def extract_lora(
    finetuned: str | PathLike[str],
    base: str | PathLike[str],
    out: str | PathLike[str],
    *,
    rank: int | None = None,
    energy: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    whole: Sequence[str] = (),
    dtype: str = "float32",
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Extracted:
    """Write into the folder `out` a LoRA adapter, as PEFT reads it, that turns `base` into `finetuned`.

    Each weight of a linear, embedding or convolution layer gets the best approximation of its change by `rank`
    directions, or by as few as keep the share `energy` of its squared norm (with both: at most `rank`). The globs
    `include` and `exclude` choose tensors; what changed and matches `whole` is stored as it is, the only way for
    norms and biases. `memory` and `threads` change nothing but speed.

    Raises:
        RecipeError: neither a rank nor an energy, one out of range, a pattern that matches nothing.
        InputError, Problems: tensors are missing or of another shape, or nothing changed.
        NonFiniteError: NaN or infinity.
        StorageError: the output is taken or cannot be written.
    """
    wish = _wish(rank, energy, dtype)
    watch, out = watch or Nobody(), Path(out)
    if note := put_back(out):
        watch.note(note)
    with closing(_opened(str(finetuned), str(base))) as sources:
        tuned, origin = sources.values()
        config = _config(origin) or _config(tuned)
        work = _planned(tuned, origin, pair(tuned, origin, config, include, exclude), wish, whole)
        with growing(out, sources, _most_bytes(work), overwrite=overwrite) as folder:
            names = [*work.pair.low, *work.pair.rest]
            spool = Spool(folder / "factors", {name: number for number, name in enumerate(names)}, wish.dtype)
            limit = None if memory is None else given_bytes(memory)
            parts = _all_factored(work, spool, limit, threads, watch)
            return _write(work, parts, spool, folder, out, _facts(work, parts, config, str(base)), watch)


def _wish(rank: int | None, energy: float | None, dtype: str) -> Wish:
    if rank is None and energy is None:
        hint = "`--rank 32` for 32 directions each, `--energy 0.9` for as many as keep 90 % of the squared norm."
        raise RecipeError("give a rank or an energy", where="extract-lora", hint=hint)
    if rank is not None and rank < 1:
        raise RecipeError(f"must be at least 1. Got {rank} instead.", where="--rank")
    if energy is not None and not 0 < energy <= 1:
        raise RecipeError(f"must be above 0 and at most 1. Got {energy} instead.", where="--energy")
    name = spoken_dtype(dtype)
    if name not in _DTYPES:
        hint = f"choose {', '.join(map(torch_name, _DTYPES))}."
        raise RecipeError(f"`{dtype}` is no dtype for an adapter", where="--dtype", hint=hint)
    return Wish(rank, energy, name)


def _opened(finetuned: str, base: str) -> Sources:
    sources = Sources()
    try:
        for label, path in zip(labels_of((finetuned, base)), (finetuned, base), strict=True):
            sources[label] = open_spec(source_spec(label, path, ""))
    except BaseException:
        sources.close()
        raise
    return sources


def _config(source: Source) -> Mapping[str, Any]:
    path = source.folder / "config.json" if source.folder else None
    return read_object(path) if path and path.exists() else {}


def _planned(tuned: Source, base: Source, found: Pair, wish: Wish, whole: Sequence[str]) -> _Work:
    names = [*found.low, *found.rest]
    refuse_idle(names, whole, "--whole")
    refuse_changed(found.fixed, tuned, base)
    return _Work(tuned, base, found, wish, tuple(name for name in names if matches(name, whole)))


def _most_bytes(work: _Work) -> int:
    """Room on the disk: factors lie there twice for a moment. How many an energy takes nobody knows before."""
    headers = work.tuned.headers()
    if work.wish.rank is None:
        numbers = 0
    else:
        sides = [work.change(name).shape for name in work.low]
        numbers = sum(min(work.wish.rank, side) * (side + length) for side, length in sides)
    return 2 * 4 * numbers + sum(headers[name].nbytes for name in work.whole) + SIDECARS


Parts = Mapping[str, Factored]


def _all_factored(work: _Work, spool: Spool, memory: int | None, threads: int | None, watch: Watch) -> Parts:
    """What became of every tensor; those that get no factors have rank 0, with the energy of their change."""
    low = frozenset(work.low)

    def one(name: str) -> Factored:
        if name in low:
            return factored(work.change(name), work.pair.low[name], work.wish, spool)
        energy = work.change(name).energy()
        return Factored(0, energy, energy, 0.0, "")

    names = [*work.pair.low, *work.pair.rest]
    sizes = {name: work.tuned.headers()[name].nbytes + work.base.headers()[name].nbytes for name in names}
    most = max((bytes_for(work.change(name), work.wish) for name in low), default=BLOCK)
    parts: dict[str, Factored] = {}
    watch.begin("extracting", sum(sizes.values()))
    try:
        for name, part in each(names, one, workers(most, memory, threads)):
            parts[name] = part
            watch.advance(sizes[name])
    finally:
        watch.end()
    return parts


def _facts(work: _Work, parts: Parts, config: Mapping[str, Any], base: str) -> AdapterFacts:
    """What the adapter's config will say.

    Raises:
        InputError: there is nothing that an adapter could hold.
    """
    ranks = {module_of(name): parts[name].rank for name in work.low if parts[name].rank}
    stored = [name for name in work.whole if parts[name].energy > 0]
    if not ranks and not stored:
        raise _nothing(work, parts)
    spec = source_spec("base", base, "")
    changed = {name: kind for name, kind in work.pair.low.items() if parts[name].energy > 0}
    return AdapterFacts(
        ranks,
        base if spec.adapters else spec.path,
        None if is_local(spec.path) else spec.revision,
        architecture=architecture_of(config),
        transposed="transposed" in changed.values(),
        whole=_modules_in_full(work, stored, ranks),
        biases=any(module_of(name) in ranks for name in stored),
        tied=bool(_output_too(work, changed)),
    )


def _output_too(work: _Work, names: Iterable[str]) -> list[str]:
    """Embeddings of tokens that are the output layer too; those of positions and kinds never are."""
    vocabulary = vocabulary_tensors(work.base.headers()) if work.pair.tied else None
    return [name for name in names if vocabulary and name in vocabulary.axes and work.pair.low[name] == "embedding"]


def _nothing(work: _Work, parts: Parts) -> InputError:
    changed = [name for name, part in parts.items() if part.energy > 0]
    if not changed:
        return InputError(
            f"{work.tuned.label} and {work.base.label} hold the same numbers: there is nothing to extract",
            hint="are these the right two, and did `--include` and `--exclude` leave what changed?",
        )
    text = f"nothing that changed fits a low-rank adapter: {counted(changed)} ({listed(changed)})"
    return InputError(text, hint="`--whole GLOB` stores tensors as they are.")


def _write(
    work: _Work, parts: Parts, spool: Spool, folder: Path, out: Path, facts: AdapterFacts, watch: Watch
) -> Extracted:
    """Lay the adapter out, now that all ranks are known, and tell how good it is."""
    laid = {name: _laid(work, name, parts[name].rank) for name in work.low if parts[name].rank}
    stored = {**_in_full(work, facts.whole), **_biases(work, parts, facts)}
    headers = {ROOT + adapter: work.holder(name).headers()[name] for adapter, name in stored.items()}
    for one in laid.values():
        headers |= {one.down: Header(work.wish.dtype, one.down_shape), one.up: Header(work.wish.dtype, one.up_shape)}
    with closing(FolderSink(folder, headers, shard_bytes=_ONE_FILE, stems={"": "adapter_model"})) as sink:
        for name, one in laid.items():
            for part, adapter in (("down", one.down), ("up", one.up)):
                for start, piece in spool.read(name, part):
                    sink.write(adapter, start, memoryview(piece))
        for adapter, name in stored.items():
            for start, piece in _pieces(work.holder(name), name):
                sink.write(ROOT + adapter, start, piece)
        sink.finish(fsync=False)  # the folder is synced as a whole before it gets its name
    spool.remove()
    write_file(folder / CONFIG, _json(adapter_config(facts, work.base.headers())))
    parameters = sum(header.numel for header in headers.values())
    result = _result(work, parts, out, tuple(stored.values()), parameters)
    write_file(folder / REPORT, _json(_report(work, result)))
    for note in result.notes:
        watch.note(note)
    return result


def _notes(left_out: Sequence[str], tied: Sequence[str]) -> Iterator[str]:
    if left_out:
        changed = f"{counted(left_out)} changed and are not in the adapter"
        yield f"{changed} ({listed(left_out)}): `--whole GLOB` stores them."
    if tied:
        fault = "merge_and_unload adds the change twice" if "embed_tokens" in tied[0] else "it changes the input only"
        yield (
            f"{tied[0]} is the output layer too, which PEFT 0.21 does not get right ({fault}): "
            f"`ligate merge` of BASE+ADAPTER does, and `--exclude '{tied[0]}'` leaves it out."
        )


def _laid(work: _Work, name: str, rank: int) -> Factors:
    return factors(name, work.base.headers()[name].shape, work.pair.low[name], rank)


def _modules_in_full(work: _Work, stored: Sequence[str], ranks: Mapping[str, int]) -> tuple[str, ...]:
    """The modules that PEFT has to keep as a whole so that these tensors are theirs.

    PEFT takes every module whose name ends like one it is told; those then have to be stored as well.
    """
    everything = {module_of(name) for name in work.base.headers()}
    wanted = dict.fromkeys(module for name in stored if (module := module_of(name)) not in ranks)
    for module in wanted:
        if not module or any(other.startswith(f"{module}.") for other in everything):
            names = [name for name in stored if module_of(name) == module]
            hint = "PEFT stores modules without others inside; leave such tensors out of `--whole`."
            raise InputError(f"cannot be stored as they are: {listed(names)}", where=work.tuned.label, hint=hint)
    return tuple(other for other in sorted(everything) if other not in ranks and other.endswith(tuple(wanted)))


def _in_full(work: _Work, modules: Sequence[str]) -> dict[str, str]:
    """All tensors of these modules: name in the adapter, without its root -> name in the model."""
    return {name: name for name in work.base.headers() if module_of(name) in modules}


def _biases(work: _Work, parts: Parts, facts: AdapterFacts) -> dict[str, str]:
    """Biases of modules that change at low rank lie in the layer that PEFT wraps."""
    changed = (name for name in work.whole if module_of(name) in facts.ranks and parts[name].energy > 0)
    return {f"{module_of(name)}.base_layer.{name.rpartition('.')[2]}": name for name in changed}


def _pieces(source: Source, name: str) -> Iterator[tuple[int, memoryview]]:
    header = source.headers()[name]
    size = header.nbytes // max(header.numel, 1)
    for start in range(0, header.numel, BLOCK):
        piece = memoryview(bytearray(min(BLOCK, header.numel - start) * size))
        source.read_into(name, start, piece)
        yield start, piece


def _result(work: _Work, parts: Parts, out: Path, stored: tuple[str, ...], parameters: int) -> Extracted:
    told = tuple(_approximation(work, name, parts[name]) for name in work.low if parts[name].rank)
    held = {*stored, *(one.name for one in told)}
    left_out = {name: part.energy for name, part in parts.items() if part.energy > 0 and name not in held}
    embeddings = _output_too(work, (one.name for one in told))
    lost = math.fsum((*left_out.values(), *(parts[one.name].lost for one in told)))
    return Extracted(
        out=str(out),
        tensors=told,
        whole=stored,
        left_out={name: math.sqrt(energy) for name, energy in left_out.items()},
        unchanged=sum(part.energy == 0 for part in parts.values()),
        dtype=torch_name(work.wish.dtype),
        parameters=parameters,
        error=math.sqrt(lost / math.fsum(part.energy for part in parts.values())),
        notes=tuple(_notes(list(left_out), embeddings)),
    )


def _approximation(work: _Work, name: str, part: Factored) -> Approximation:
    change = work.change(name)
    error = math.sqrt(part.lost / part.energy)
    shape = work.base.headers()[name].shape
    return Approximation(name, shape, part.rank, change.shape[0], math.sqrt(part.energy), error, part.kept, part.how)


def _report(work: _Work, result: Extracted) -> dict[str, Any]:
    """What the folder says of itself: no path, so that the same adapter has the same bytes anywhere."""
    asked = {"rank": work.wish.rank, "energy": work.wish.energy, "dtype": result.dtype}
    told = {key: value for key, value in asdict(result).items() if key not in ("out", "dtype")}
    models = {"finetuned": work.tuned.label, "base": work.base.label}
    return {"format": 1, "ligate": __version__, **models, "asked": asked, **told}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
