"""What `import ligate` offers, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ligate

HEAVY = ("torch._C", "transformers", "safetensors")


def loaded_after(program: str, folder: object = None) -> set[str]:
    """Which heavy libraries a program has loaded at its end, in a process of its own."""
    tail = f"\nimport sys\nsys.stdout.write('\\n' + ' '.join(x for x in {HEAVY!r} if x in sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program + tail], capture_output=True, text=True, check=False, cwd=folder
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.rpartition("\n")[2].split())


def run(*arguments: str) -> str:
    return f"from ligate.cli.main import main\nif main({list(arguments)!r}): raise SystemExit(1)"


def test_everything_in_all_is_there_and_nothing_else_is_offered():
    assert list(ligate.__all__) == sorted(ligate.__all__)
    for name in ligate.__all__:
        assert getattr(ligate, name) is not None
    assert dir(ligate) == sorted(ligate.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ligate' has no attribute 'mrege'"):
        ligate.mrege  # noqa: B018


def test_the_type_checker_sees_the_same_names():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(ligate.__file__).read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names} - {
        "annotations",
        "TYPE_CHECKING",
        "Any",
    }
    assert imported == set(ligate.__all__)


@pytest.mark.parametrize(
    "program",
    [
        "import ligate",
        "import ligate.cli.main",
        "import ligate.cli.app",
        "import ligate\nligate.verify\nligate.inspect\nligate.diff",
        run("--help"),
        run("methods"),
        run("methods", "ties"),
        run("merge", "--help"),
        run("init", "new.yaml"),
        run("inspect", "base"),
        run("check", "recipe.yaml", "new"),
        run("explain", "recipe.yaml", "--tensor", "norm.weight"),
    ],
)
def test_looking_loads_no_torch(desk, program):
    assert loaded_after(program, desk) == set()


def test_verifying_loads_no_torch(desk, fine):
    fine("merge", "recipe.yaml", "out")
    assert loaded_after(run("verify", "out"), desk) == set()
    assert loaded_after("import ligate\nligate.verify('out')", desk) == set()


def test_merging_tensors_takes_torch_and_nothing_else():
    """The comparison above can fail."""
    assert loaded_after("import ligate\nligate.merge_state_dicts") == set()
    program = "import torch\nimport ligate\nligate.merge_state_dicts('linear', None, [{'w': torch.ones(1)}] * 2)"
    assert loaded_after(program) == {"torch._C"}


def test_the_verbs_work_from_python(desk):
    merged = ligate.merge("recipe.yaml", "out")
    assert ligate.verify("out").digest == merged.digest
    assert ligate.replay("out", "again").digest == merged.digest
    assert ligate.diff("out", "again").same
    assert ligate.inspect("out").parameters == 40 * 8 + 3 * 16 * 8 + 8
    assert ligate.check("recipe.yaml").steps[0].tensors == 5
    assert ligate.explain("recipe.yaml", "norm.weight")[0].method == "merge/ties"
    assert "merge/ties" in [card.id for card in ligate.cards()]


def test_a_recipe_may_be_plain_data(desk):
    recipe = {"sources": {"a": "./a", "b": "./b"}, "merge": {"method": "linear", "models": ["a", "b"]}}
    assert ligate.merge(recipe, "out").tensors == 5
    with pytest.raises(ligate.RecipeError, match="no key `mrege`"):
        ligate.merge({**recipe, "mrege": 1}, "other")
