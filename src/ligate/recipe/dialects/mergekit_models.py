"""Short names for the models of a mergekit config."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ligate.recipe.schema import AdapterSpec, Place, SourceSpec

from .mergekit_references import Reference


def labels(references: Iterable[Reference], taken: Collection[str]) -> Mapping[Reference, str]:
    """The last part of each path, or as many as tell it from the others; revision and adapter added where given."""
    everyone = tuple(dict.fromkeys(references))
    found: dict[Reference, str] = {}
    for reference in everyone:
        others = [other for other in everyone if other != reference]
        choices = [_tail(reference, parts) for parts in range(1, len(_parts(reference.path)) + 1)]
        fitting = (
            choice
            for parts, choice in enumerate(choices, 1)
            if choice not in taken and all(_tail(other, parts) != choice for other in others)
        )
        found[reference] = _unused(next(fitting, choices[-1]), {*taken, *found.values()})
    return found


def source(reference: Reference, label: str, place: Place) -> SourceSpec:
    adapters = (AdapterSpec(reference.lora, reference.lora_revision),) if reference.lora else ()
    return SourceSpec(label, reference.path, reference.revision, adapters, place=place)


def _unused(label: str, taken: Collection[str]) -> str:
    """Two spellings of one path (`a`, `./a`) share all of their parts: number them."""
    number = 2
    chosen = label
    while chosen in taken:
        chosen, number = f"{label}-{number}", number + 1
    return chosen


def _tail(reference: Reference, parts: int) -> str:
    label = "/".join(_parts(reference.path)[-parts:])
    if reference.revision:
        label += f"@{reference.revision}"
    if reference.lora:
        label += f"+{_parts(reference.lora)[-1]}"
    return label + (f"@{reference.lora_revision}" if reference.lora_revision else "")


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path]
