"""What a source says when it is asked for a tensor that it cannot hand out."""

from __future__ import annotations

from ligate.core.errors import InputError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source


def unknown_tensor(name: str, source: Source) -> InputError:
    where = f"model {source.label}"
    if name in source.headers():
        return InputError("the model is closed", where=where)
    return InputError(f"there is no tensor {name!r}", where=where, hint=nearest(name, source.headers()))
