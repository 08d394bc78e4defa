"""The doors of the house: which room may import which, and how to mend a breach.

A room is a folder of `src/ligate`. An import counts wherever it stands: at the top of a file, inside a function or
under TYPE_CHECKING (that one only for doors, not for cycles: it never runs).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "ligate"

DOORS: Mapping[str, frozenset[str]] = {
    "core": frozenset(),
    "ops": frozenset({"core"}),
    "methods": frozenset({"core", "ops"}),
    "io": frozenset({"core"}),
    "engine": frozenset({"core"}),
    "recipe": frozenset({"core", "methods", "io", "engine"}),
    "align": frozenset({"core", "ops", "io"}),
    "learn": frozenset({"core", "ops"}),
    "tasks": frozenset({"core"}),
    "trace": frozenset({"core", "ops", "io", "align"}),
    "verbs": frozenset({"core", "ops", "methods", "io", "engine", "recipe", "align", "learn", "tasks", "trace"}),
    "bench": frozenset(
        {"core", "ops", "methods", "io", "engine", "recipe", "align", "learn", "tasks", "trace", "verbs"}
    ),
    "cli": frozenset({"core", "ops", "methods", "io", "engine", "recipe", "align", "learn", "trace", "verbs", "bench"}),
    # __init__ and __main__
    "face": frozenset({"core", "ops", "methods", "io", "engine", "recipe", "align", "verbs", "cli"}),
}

MEND = """
How to mend it: move what both need down to `core` (words) or `ops` (mathematics); or let the caller hand it in as an
argument, as the engine gets its `lookup`; or, if data really has to flow this way, open the door in DOORS of
tests/test_architecture.py and say why in docs/decisions/."""

TORCH_FREE = ("core", "io", "recipe", "engine.plan", "cli")
HEAVY = ("torch._C", "transformers", "tokenizers", "peft", "huggingface_hub", "scipy", "sklearn", "safetensors")

LONGEST_FILE = 600
LONGEST_FUNCTION = 60


class Import(NamedTuple):
    """Module `importer` imports module `imported`; `runs` is False under TYPE_CHECKING."""

    importer: str
    imported: str
    line: int
    runs: bool


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Dotted name -> file of every module that is shipped."""
    files = sorted(path for path in package.rglob("*.py") if not path.name.endswith("_test.py"))
    return {_dotted(path, package): path for path in files}


def _dotted(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """`ligate.io.writer` -> `io`; the package itself and `__main__` are the face."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in DOORS else "face"


def imports(module: str, tree: ast.AST, known: Mapping[str, Path]) -> Iterator[Import]:
    """Every import of one of our own modules, however deeply it is hidden."""
    typing_only = {id(inner) for node in ast.walk(tree) if _is_typing_only(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for name in _targets(node, module, known):
            yield Import(module, name, getattr(node, "lineno", 0), id(node) not in typing_only)


def _is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _targets(node: ast.AST, module: str, known: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        source = _absolute(node, module, known)
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            if inner in known:
                yield inner
            elif source in known:
                yield source
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and argument.value in known:
            yield str(argument.value)


def _absolute(node: ast.ImportFrom, module: str, known: Mapping[str, Path]) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - (known[module].name == "__init__.py")  # one dot is the folder, which a package is itself
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def breaches(found: Iterator[Import] | list[Import]) -> list[str]:
    """One sentence for each import that goes through no door."""
    told: list[str] = []
    for one in found:
        here, there = room(one.importer), room(one.imported)
        if here != there and there not in DOORS[here]:
            allowed = ", ".join(sorted(DOORS[here])) or "nothing of ours"
            told.append(f"{one.importer}:{one.line} imports {one.imported}, but {here} may import {allowed}")
        if here == there == "methods" and not _same_level(one.importer, one.imported):
            told.append(f"{one.importer}:{one.line} imports {one.imported}, but one level never imports another")
    return told


def _same_level(importer: str, imported: str) -> bool:
    """Folders of methods/ keep to themselves; files directly in methods/ may be used by all of them."""
    levels = [name.split(".")[2:-1] for name in (importer, imported)]
    return not all(levels) or levels[0][0] == levels[1][0]


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Some cycle of the import graph, first name repeated at the end; empty when there is none."""
    done: set[str] = set()
    for start in sorted(graph):
        path: list[str] = []
        found = _cycle_from(start, graph, path, done)
        if found:
            return found
    return []


def _cycle_from(name: str, graph: Mapping[str, set[str]], path: list[str], done: set[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if name in done:
        return []
    path.append(name)
    for following in sorted(graph.get(name, ())):
        found = _cycle_from(following, graph, path, done)
        if found:
            return found
    path.pop()
    done.add(name)
    return []


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text("utf-8")) for name, path in modules().items()}


@pytest.fixture(scope="module")
def found(trees: dict[str, ast.Module]) -> list[Import]:
    known = modules()
    return [one for name, tree in trees.items() for one in imports(name, tree, known)]


def test_rooms_import_only_through_their_doors(found: list[Import]):
    told = breaches(found)
    assert not told, "\n".join(told) + MEND


def test_every_folder_is_a_room_with_doors():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= set(DOORS), f"no doors are written down for {sorted(folders - set(DOORS))}" + MEND


def test_no_import_cycles_even_hidden_ones(found: list[Import]):
    graph: dict[str, set[str]] = {}
    for one in found:
        # A package's __init__ is loaded before its modules; a module that names its own package closes no circle
        # unless that __init__ imports the module back, and then the edge below shows it.
        if one.runs and one.importer != one.imported:
            graph.setdefault(one.importer, set()).add(one.imported)
    circle = cycle(graph)
    assert not circle, "import cycle: " + " -> ".join(circle) + MEND


def test_nobody_imports_the_face_or_the_command_line(found: list[Import]):
    told = [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in found
        if room(one.importer) not in ("face", "cli") and room(one.imported) in ("face", "cli")
    ]
    assert not told, "\n".join(told) + MEND


def test_reading_headers_and_recipes_loads_no_heavy_library():
    names = [name for name in modules() if f"{name}.".startswith(tuple(f"ligate.{free}." for free in TORCH_FREE))]
    assert "ligate.core.tensors" in names
    program = (
        "import importlib, json, sys\n"
        f"names, heavy, told = {['ligate', *names]!r}, {HEAVY!r}, []\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    told += [[name, lib] for lib in heavy if lib in sys.modules and lib not in [t[1] for t in told]]\n"
        "sys.stdout.write(json.dumps(told))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = [f"importing {name} loads {library}" for name, library in json.loads(ran.stdout)]
    assert not told, "\n".join(told) + "\nImport it inside the function that needs it, or under TYPE_CHECKING."


def test_the_face_exports_what_it_lists():
    import ligate

    missing = [name for name in ligate.__all__ if not hasattr(ligate, name)]
    assert not missing
    for_types = next(node for node in ast.parse(modules()["ligate"].read_text("utf-8")).body if _is_typing_only(node))
    told = {alias.asname or alias.name for node in ast.walk(for_types) for alias in getattr(node, "names", ())}
    assert told | {"__version__"} == set(ligate.__all__), "__all__ and the imports for types differ"


@pytest.mark.parametrize("forbidden", ["print", "assert"])
def test_no_print_and_no_assert(trees: dict[str, ast.Module], forbidden: str):
    told = [
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if (forbidden == "assert" and isinstance(node, ast.Assert))
        or (forbidden == "print" and isinstance(node, ast.Call) and ast.unparse(node.func) == "print")
    ]
    assert not told, f"`{forbidden}` in {told}: raise a LigateError, or hand the text to the command line."


def test_files_and_functions_fit_on_a_desk(trees: dict[str, ast.Module]):
    long_files = [
        f"{name}: {lines} lines"
        for name, path in modules().items()
        if (lines := len(path.read_text("utf-8").splitlines())) > LONGEST_FILE
    ]
    long_functions = [
        f"{name}.{node.name}: {_code_lines(node)} lines"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _code_lines(node) > LONGEST_FUNCTION
    ]
    assert not long_files + long_functions, "split by what the parts do: " + "; ".join(long_files + long_functions)


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


# The checks themselves can fail:


def _imports_of(text: str, module: str) -> list[Import]:
    names = ("ligate.io.writer", "ligate.io", "ligate.core.errors", "ligate.engine.run", "ligate.engine", "ligate")
    known = {name: Path("x.py") for name in names} | {name: Path("__init__.py") for name in ("ligate.io", "ligate")}
    return list(imports(module, ast.parse(text), known))


def test_a_hidden_import_through_a_closed_door_is_seen():
    assert breaches(_imports_of("def f():\n    from ligate.engine import run\n", "ligate.io.writer"))
    assert breaches(_imports_of("import ligate.engine.run as r", "ligate.io.writer"))
    assert breaches(_imports_of("from ..engine.run import go", "ligate.io.writer"))
    assert not breaches(_imports_of("from ..core.errors import LigateError", "ligate.io.writer"))


def test_relative_imports_of_a_package_are_resolved():
    assert [one.imported for one in _imports_of("from .writer import publish", "ligate.io")] == ["ligate.io.writer"]
    assert [one.imported for one in _imports_of("from ..core import errors", "ligate.io")] == ["ligate.core.errors"]


def test_one_level_of_methods_may_not_import_another():
    assert breaches([Import("ligate.methods.align.match", "ligate.methods.merge.ties", 1, True)])
    assert not breaches([Import("ligate.methods.merge.dare", "ligate.methods.merge.ties", 1, True)])


def test_a_cycle_is_found_and_told_in_order():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []
