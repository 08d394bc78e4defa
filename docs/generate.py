"""`make docs`: one page for each method, written from its card, and an index."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ligate.core.method import Card
from ligate.core.params import Param
from ligate.verbs.methods import cards, kind, limits

FOLDER = Path(__file__).parent / "methods"
_MATH = re.compile(r"^\.\. math::\n((?:\n|[ \t]+.*\n?)+)", re.MULTILINE)
_LABEL = re.compile(r"^(Shapes|Units|Source|Differs|Raises):((?: .*)?(?:\n(?!\w+:|$).+)*\n?)", re.MULTILINE)
_EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.MULTILINE)

_WHOSE = {"model": "each model", "step": "all models together"}


def pages() -> Mapping[str, str]:
    """File name -> text of everything below docs/methods/."""
    known = tuple(card for card in cards() if not card.foreign)  # not what somebody has plugged in
    return {"README.md": index(known), **{file_name(card): page(card) for card in known}}


def file_name(card: Card) -> str:
    return f"{card.id.replace('/', '-')}.md"


def index(known: tuple[Card, ...]) -> str:
    rows = [f"| [{card.id}]({file_name(card)}) | {card.title} | {inline(card.summary)} |" for card in known]
    head = ["# Methods", "", "Written by `make docs` from the cards in `src/ligate/methods/`.", ""]
    return "\n".join([*head, "| id | title | what it does |", "|---|---|---|", *rows, ""])


def page(card: Card) -> str:
    """Title, facts, docstring and parameters of one method."""
    parts = [f"# {card.title}", *facts(card), markdown(inspect.getdoc(card.function) or ""), *parameters(card)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def facts(card: Card) -> Iterator[str]:
    few, most = card.models
    models = f"{few} or more" if most is None else str(few) if few == most else f"{few} to {most}"
    order = "irrelevant" if card.symmetric else "matters"
    measured = "".join(f" · measured: `{name}` of {_WHOSE[whose]}" for name, whose in card.measured.items())
    yield f"`{card.id}` · base: {card.base} · models: {models} · their order: {order}{measured} · source: {card.source}"


def parameters(card: Card) -> Iterator[str]:
    yield "## Parameters"
    if not card.params:
        yield "None."
        return
    rows = ["| name | type | default | limits | one per model |", "|---|---|---|---|---|"]
    yield "\n".join([*rows, *map(_row, card.params.values())])


def _row(param: Param) -> str:
    default = "must be given" if param.required else f"`{str(param.default).lower()}`"
    allowed = kind(param).replace("|", "or") + (" or none" if param.optional else "")
    per_model = "yes" if param.per_model else ""
    return f"| `{param.name}` | {allowed} | {default} | {limits(param)} | {per_model} |"


def markdown(doc: str) -> str:
    """A docstring as Markdown shows it: equations, examples, and a paragraph for each of its labels."""
    doc = _MATH.sub(lambda found: f"$$\n{inspect.cleandoc(found[1])}\n$$\n\n", doc)
    doc = _EXAMPLE.sub(lambda found: f"```python\n{found[0].strip()}\n```\n", doc)
    doc = _LABEL.sub(_paragraph, doc)
    return inline(re.sub(r"\n{3,}", "\n\n", doc))


def _paragraph(found: re.Match[str]) -> str:
    lines = [line.strip() for line in found[2].strip().splitlines()]
    if found[1] != "Raises":
        return f"\n**{found[1]}:** " + "\n".join(lines).replace("*", r"\*") + "\n"
    items = "\n".join(lines).replace("\n", "\n  ")
    return "\n**Raises:**\n\n" + re.sub(r"^ *(\w+(?:, \w+)*): ", r"- `\1`: ", items, flags=re.MULTILINE) + "\n"


def inline(text: str) -> str:
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    return re.sub(r"``([^`\n]+)``", r"`\1`", text)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    written = pages()
    for stale in set(FOLDER.glob("*.md")) - {FOLDER / name for name in written}:
        stale.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, "utf-8")
    sys.stdout.write(f"docs/methods: {len(written)} pages\n")


if __name__ == "__main__":
    main()
