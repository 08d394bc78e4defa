"""A checkpoint under other names, and which names would make two checkpoints agree. Numbers are never touched here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Header, Source

PREFIXES = (
    "module.",  # DataParallel, DeepSpeed
    "_orig_mod.",  # torch.compile
    "_fsdp_wrapped_module.",
    "base_model.model.",  # PEFT
    "model.",
    "transformer.",
    "bert.",
    "roberta.",
    "encoder.",
    "backbone.",
    "language_model.",
    "language_model.model.",
    "model.language_model.",
)
"""What programs put in front of all names, and what one class of a model has in front where another has nothing."""

_ENOUGH = 0.5  # share of the smaller model's tensors that a prefix must explain


class View:
    """Shows another source; whatever a kind of view does not change passes through."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner

    @property
    def label(self) -> str:
        return self._inner.label

    @property
    def folder(self) -> Path | None:
        return self._inner.folder

    def headers(self) -> Mapping[str, Header]:
        return self._inner.headers()

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        self._inner.read_into(name, start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        self._inner.prefetch(name, start, stop)

    def place(self, name: str) -> str:
        return self._inner.place(name)

    def files(self) -> Sequence[Path]:
        return self._inner.files()

    def metadata(self) -> Mapping[str, str]:
        return self._inner.metadata()

    def close(self) -> None:
        self._inner.close()


class Renamed(View):
    """Tensors under the names that are the keys of `names`; the values are their names in the source."""

    def __init__(self, inner: Source, names: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._names = dict(names)
        headers = inner.headers()
        self._headers = {outer: headers[name] for outer, name in self._names.items()}

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        self._inner.read_into(self._names.get(name, name), start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        self._inner.prefetch(self._names.get(name, name), start, stop)

    def place(self, name: str) -> str:
        return self._inner.place(self._names.get(name, name))


def stripped(source: Source, prefix: str) -> Source:
    """The source without this prefix wherever a name has it."""
    inner = tuple(source.headers())
    if not any(name.startswith(prefix) for name in inner):
        raise RecipeError(
            f"no tensor name begins with {prefix!r}",
            where=f"strip_prefix of {source.label}",
            hint=f"the first name is {inner[0]!r}." if inner else "the model has no tensors.",
        )
    names: dict[str, str] = {}
    for name in inner:
        outer = name.removeprefix(prefix)
        if not outer or outer in names:
            clash = f"{names[outer]!r} and {name!r} would have the same name" if outer else f"{name!r} would have none"
            raise RecipeError(f"without {prefix!r} {clash}", where=f"strip_prefix of {source.label}")
        names[outer] = name
    return Renamed(source, names)


def aliased(source: Source, alias: Mapping[str, str]) -> Source:
    """The source with further names for some of its tensors, for models that store a tied tensor only once."""
    headers = source.headers()
    where = f"alias of {source.label}"
    for name, origin in alias.items():
        if name in headers:
            raise RecipeError(f"the model has a tensor {name!r} of its own", where=where, hint="leave this alias out.")
        if origin not in headers:
            raise RecipeError(f"the model has no tensor {origin!r}", where=where, hint=nearest(origin, headers))
    return Renamed(source, {**{name: name for name in headers}, **alias})


def prefix_between(names: Collection[str], others: Collection[str]) -> str | None:
    """The known prefix, or two of them one after the other, without which most of the names are the others'.

    None when no known prefix explains the difference, or when it is the other model that has one.

    >>> prefix_between(["module.up", "module.down"], ["up", "down"])
    'module.'
    >>> prefix_between(["up", "down"], ["module.up", "module.down"])
    """
    others = frozenset(others)
    best, most = None, sum(name in others for name in names)
    least = _ENOUGH * min(len(names), len(others))
    for prefix in _candidates(names):
        agreeing = sum(name.removeprefix(prefix) in others for name in names)
        if agreeing > most and agreeing >= least:
            best, most = prefix, agreeing
    return best


def _candidates(names: Collection[str]) -> Sequence[str]:
    """Prefixes that some name has: in the order of `PREFIXES`, single ones first."""
    single = [prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)]
    double = [one + two for one in single for two in PREFIXES if any(name.startswith(one + two) for name in names)]
    return list(dict.fromkeys(single + double))
