"""The library of compiled loops (kernels.c), where the installation had a C compiler."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_AT, _SIZE, _FLAG, _DOUBLE = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_double
_REALS = {"bf16": ctypes.c_float, "f16": ctypes.c_float, "real32": ctypes.c_float, "f32": _DOUBLE, "f64": _DOUBLE}


def available() -> bool:
    """Whether the compiled loops are in use. `LIGATE_NO_KERNELS=1` switches them off, for tests and comparisons."""
    return library() is not None


def loop(name: str, kind: str) -> Callable[..., Any] | None:
    """The loop of this name over this kind of number (bf16, f16, f32, f64, or real32: float32 as rules see it)."""
    found = library()
    return None if found is None else getattr(found, f"{name}_{kind}")


def reals(kind: str, values: Sequence[float]) -> Any:
    """A C array in the type in which the loops of this kind compare magnitudes."""
    return (_REALS[kind] * len(values))(*values)


def doubles(values: Sequence[float]) -> Any:
    return (_DOUBLE * len(values))(*values)


def addresses(values: Sequence[int]) -> Any:
    return (_AT * len(values))(*values)


@functools.cache
def library() -> ctypes.CDLL | None:
    if os.environ.get("LIGATE_NO_KERNELS"):
        return None
    try:
        found = ctypes.CDLL(str(Path(__file__).with_name("_kernels.so")))
        _declare(found, "widen_bf16", _FLAG, _AT, _AT, _SIZE)
        _declare(found, "narrow_bf16", _FLAG, _AT, _AT, _SIZE)
        _declare(found, "narrow_odd", None, _AT, _AT, _SIZE)
        for kind, real in _REALS.items():
            _declare(found, f"finite_{kind}", _FLAG, _AT, _SIZE)
            _declare(found, f"distances_{kind}", None, _AT, _AT, _AT, _SIZE)
            _declare(found, f"weighted_sum_{kind}", _FLAG, _AT, _AT, _DOUBLE, _AT, _SIZE, _SIZE)
            _declare(found, f"add_weighted_{kind}", _FLAG, _AT, _AT, _AT, _FLAG, _DOUBLE, _AT, _SIZE, _SIZE)
            _declare(found, f"census_{kind}", _SIZE, _AT, _AT, real, real, _AT, _AT, _SIZE)
            _declare(found, f"cut_{kind}", None, _AT, _AT, real, real, _SIZE)
            _declare(found, f"drop_{kind}", None, _AT, _AT, _AT, ctypes.c_uint64, ctypes.c_uint32, _SIZE)
            _declare(found, f"length_{kind}", _DOUBLE, _AT, _AT, _SIZE)
            _declare(found, f"spreads_{kind}", None, _AT, _AT, _SIZE, _SIZE)
            _declare(found, f"select_{kind}", None, _AT, _AT, _DOUBLE, _SIZE, _SIZE)
            _declare(found, f"dot_{kind}", _DOUBLE, _AT, _AT, _AT, _SIZE)
            _declare(found, f"elected_mean_{kind}", _FLAG, _AT, _AT, _AT, _AT, _SIZE, _SIZE)
            _declare(found, f"overlap_{kind}", None, _AT, _AT, real, _AT, _SIZE, _SIZE)
            _declare(found, f"mean_of_changed_{kind}", _FLAG, _AT, _AT, _AT, real, _DOUBLE, _AT, _SIZE, _SIZE)
            _declare(found, f"scores_{kind}", None, _AT, _AT, _AT, _AT, _SIZE, _SIZE)
            _declare(found, f"compete_{kind}", _FLAG, *(_AT,) * 6, _DOUBLE, _AT, _SIZE, _SIZE)
            _declare(found, f"consensus_{kind}", _FLAG, *(_AT,) * 4, _FLAG, _DOUBLE, _AT, _SIZE, _SIZE)
            _declare(found, f"largest_{kind}", _FLAG, _AT, _AT, _DOUBLE, _AT, _SIZE, _SIZE)
            tables = _AT, _AT, _AT, _AT, _AT
            numbers = _FLAG, _FLAG, _DOUBLE, _DOUBLE, _AT, _SIZE, _SIZE
            _declare(found, f"disjoint_merge_{kind}", _FLAG, *tables, *numbers)
            _declare(found, f"lead_of_plus_{kind}", ctypes.c_int64, _AT, _AT, _AT, _AT, _FLAG, _SIZE, _SIZE)
    except (OSError, AttributeError):  # not compiled, or from another version of this file
        return None
    return found


def _declare(found: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> None:
    function = getattr(found, name)
    function.restype, function.argtypes = result, arguments
