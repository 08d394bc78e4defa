"""README.md of a mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence

from ligate.engine.record import Record
from ligate.recipe.expert_layouts import Layout
from ligate.recipe.mixture import Mixture

from .canonical import as_yaml
from .model_card import fenced, front_matter, notes, plain
from .parents import Parent

NAME = "README.md"


def mixture_card(record: Record, family: Sequence[Parent], layout: Layout, mixture: Mixture) -> str:
    """The text of the card; the same for the same mixture."""
    rows = [f"| {plain(parent.name)} | {plain(str(parent.licence or 'not stated'))} |" for parent in family]
    return "\n".join(
        (
            front_matter(family, ("moe", "ligate")),
            f"# A mixture of {len(mixture.experts)} experts\n",
            f"Made of dense models with [Ligate](https://pypi.org/project/ligate/) {record.versions['ligate']}, in the "
            f"layout of `{layout.architecture}`. Each token goes through {mixture.chosen} of the experts. "
            "`ligate verify` checks every tensor against `ligate.json`.\n",
            "## Parents\n\n| model | licence |\n|---|---|",
            *rows,
            *notes(family),
            f"\n## Config\n\n{fenced(as_yaml(record.recipe))}",
        )
    )
