"""Run by mergekit's own interpreter: prints the options of each of its commands as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import distribution


def main() -> None:
    found: dict[str, list[str]] = {}
    for entry in distribution("mergekit").entry_points:
        if entry.group == "console_scripts":
            found[entry.name] = _options(entry.value)
    json.dump(found, sys.stdout)


def _options(place: str) -> list[str]:
    """Nothing where the command needs packages that are not there."""
    module, _, name = place.partition(":")
    try:
        command = getattr(importlib.import_module(module), name)
    except ImportError:
        return []
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return [name for option in options for name in option.opts]


if __name__ == "__main__":
    main()
