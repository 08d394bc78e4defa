"""Import a heavy module now, load it when something of it is first used."""

from __future__ import annotations

import importlib.util
import sys


def make_lazy(name: str) -> None:
    """Put an unloaded module under `name`; the first attribute asked of it loads it.

    Only for a process of our own: method files may say `import torch` at the top, and reading their cards for
    `methods` or `check` then costs nothing. Loading is not safe from several threads at once; whoever starts
    threads touches an attribute before.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return  # the import that needs it will say so
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
