"""README.md of a mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from ligate.engine.record import Record
from ligate.recipe.expert_layouts import Layout
from ligate.recipe.mixture import Mixture

from .canonical import as_yaml
from .model_card import Parent, licence_note

NAME = "README.md"


def mixture_card(record: Record, family: Sequence[Parent], layout: Layout, mixture: Mixture) -> str:
    """The text of the card; the same for the same mixture."""
    known = [parent.hub for parent in family if parent.hub]
    facts: dict[str, Any] = {"base_model": known, "base_model_relation": "merge"} if known else {}
    facts |= {"library_name": "transformers", "tags": ["moe", "ligate"]}
    licences = {parent.licence for parent in family}
    if len(licences) == 1 and None not in licences:
        facts["license"] = licences.pop()
    rows = [f"| {parent.name} | {parent.licence or 'not stated'} |" for parent in family]
    note = licence_note(family)
    return "\n".join(
        (
            f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n",
            f"# A mixture of {len(mixture.experts)} experts\n",
            f"Made of dense models with [Ligate](https://pypi.org/project/ligate/) {record.versions['ligate']}, in the "
            f"layout of `{layout.architecture}`. Each token goes through {mixture.chosen} of the experts. "
            "`ligate verify` checks every tensor against `ligate.json`.\n",
            "## Parents\n\n| model | licence |\n|---|---|",
            *rows,
            *((f"\n**Licences:** {note}",) if note else ()),
            f"\n## Config\n\n```yaml\n{as_yaml(record.recipe)}```\n",
        )
    )
