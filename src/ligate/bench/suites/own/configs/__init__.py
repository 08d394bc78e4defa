"""Files to start from for comparisons of one's own models: `ligate bench example NAME` prints them."""

from __future__ import annotations

from pathlib import Path

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.name for path in _FOLDER.glob("*.yaml"))


def text(name: str) -> str:
    """Raises RecipeError for a name that no example has."""
    if name not in names():
        raise RecipeError(f"there is no example '{name}'", where="bench example", hint=nearest(name, names()))
    return (_FOLDER / name).read_text(encoding="utf-8")
