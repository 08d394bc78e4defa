"""Open a model that somebody names, with everything that is said about it: revision, adapters, other tensor names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ligate.core.tensors import Source

from .adapter import lay_adapter
from .checkpoint import open_checkpoint
from .documents import read_object
from .locate import locate
from .quantised import view_quantised
from .views import aliased, stripped

_NONE: Mapping[str, str] = MappingProxyType({})


def open_source(
    path: str,
    *,
    label: str,
    revision: str | None = None,
    adapters: Sequence[tuple[str, str | None, float]] = (),
    strip_prefix: str = "",
    alias: Mapping[str, str] = _NONE,
) -> Source:
    """Open a model by local path or Hub id (`org/name@revision`); a path that looks local never meets the network.

    Of a folder with components (diffusers, sentence-transformers) the tensors are called `component/name`. What is
    quantised is read as the numbers it stands for; adapters (path, revision, scale) are added as tensors are read.
    """
    source = open_checkpoint(locate(path, revision), label)
    try:
        source = view_quantised(source, _config(source.folder))
        if strip_prefix:
            source = stripped(source, strip_prefix)
        for place, version, scale in adapters:
            source = lay_adapter(source, locate(place, version), scale)
        return aliased(source, alias) if alias else source  # last, so that a tied tensor has its origin's changes
    except BaseException:
        source.close()
        raise


def _config(folder: Path | None) -> Mapping[str, Any]:
    path = folder / "config.json" if folder else None
    return read_object(path) if path and path.exists() else {}
