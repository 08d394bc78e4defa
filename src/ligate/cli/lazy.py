"""Import a heavy module now, load it when something of it is first used."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any


class _Later(types.ModuleType):
    """A module whose code has not run. `importlib.util.LazyLoader` would run it on the second `import` of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__spec__":  # all that an import statement asks for
            return super().__getattribute__(name)
        self.__class__ = types.ModuleType  # pyright: ignore[reportAttributeAccessIssue]
        spec = self.__spec__
        if spec is not None and spec.loader is not None:
            try:
                spec.loader.exec_module(self)
            except BaseException:
                sys.modules.pop(spec.name, None)
                raise
        return getattr(self, name)


def make_lazy(name: str) -> None:
    """Put an unloaded module under `name`; the first attribute asked of it loads it.

    Only for a process of our own: method files say `import torch` at the top, and reading their cards for `methods`
    or `check` then costs nothing. Loading is not safe from several threads at once: whoever starts threads that use
    the module touches an attribute before.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return  # the import that needs it will say so
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Later
    sys.modules[name] = module
