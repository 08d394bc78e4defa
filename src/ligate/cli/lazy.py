"""Import a heavy module now, load it when something of it is first used."""

from __future__ import annotations

import importlib.util
import sys
import threading
import types
from typing import Any


class _Later(types.ModuleType):
    """A module whose code has not run. `importlib.util.LazyLoader` would run it on the second `import` of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__spec__":  # all that an import statement asks for
            return types.ModuleType.__getattribute__(self, name)
        with _LOADING:  # another thread waits here until all of it is there; this one may ask while it loads
            if object.__getattribute__(self, "__class__") is _Later and not _begun(self):
                _load(self)
        return types.ModuleType.__getattribute__(self, name)


_LOADING = threading.RLock()


def _begun(module: types.ModuleType) -> bool:
    return "__ligate_loading__" in object.__getattribute__(module, "__dict__")


def _load(module: types.ModuleType) -> None:
    namespace = object.__getattribute__(module, "__dict__")
    spec = namespace["__spec__"]
    namespace["__ligate_loading__"] = True
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    finally:
        del namespace["__ligate_loading__"]
    module.__class__ = types.ModuleType


def make_lazy(name: str) -> None:
    """Put an unloaded module under `name`; the first attribute asked of it loads it.

    Only for a process of our own: method files say `import torch` at the top, and reading their cards for `methods`
    or `check` then costs nothing.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return  # the import that needs it will say so
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Later
    sys.modules[name] = module
