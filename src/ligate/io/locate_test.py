from __future__ import annotations

import sys
import types

import pytest

from ligate.core.errors import InputError
from ligate.io.locate import locate


@pytest.fixture
def hub(monkeypatch):
    """Stands for the Hub: remembers what was asked for."""
    asked = []
    module = types.ModuleType("ligate.io.hub")
    module.resolve_hub = lambda repo, revision: asked.append((repo, revision))
    monkeypatch.setitem(sys.modules, "ligate.io.hub", module)
    return asked


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "llama-base").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("path", ["models/llama-base", "./models/llama-base", "models/../models/llama-base"])
def test_what_exists_is_taken_as_it_is(here, hub, path):
    assert locate(path).resolve() == here / "models" / "llama-base" and not hub


def test_home_is_expanded(here, hub, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert locate("~/models") == here / "models"


@pytest.mark.parametrize("path", ["models/llama-bas", "./models/llama-bas", "./models/lama-base"])
def test_a_missing_path_offers_its_nearest_neighbour_and_never_asks_the_hub(here, hub, path):
    with pytest.raises(InputError, match=r"no such file or folder.*\n.*did you mean '(\./)?models/llama-base'"):
        locate(path)
    assert not hub


@pytest.mark.parametrize(
    "path", ["./org/name", "/org/name", "~/org/name", "~nobody-here/x", "../org/name", "a/b/c", ""]
)
def test_what_looks_local_never_asks_the_hub(here, hub, path):
    with pytest.raises(InputError):
        locate(path)
    assert not hub


def test_a_bare_name_says_how_the_hub_writes_it(here, hub):
    with pytest.raises(InputError, match="org/name"):
        locate("gpt2")
    assert not hub


@pytest.mark.parametrize(
    ("path", "revision", "asked"),
    [
        ("org/name", None, ("org/name", None)),
        ("org/name@v1.0", None, ("org/name", "v1.0")),
        ("org/name@refs/pr/1", None, ("org/name", "refs/pr/1")),
        ("org/name@v1.0", "main", ("org/name", "main")),
    ],
)
def test_only_an_id_asks_the_hub(here, hub, path, revision, asked):
    locate(path, revision)
    assert hub == [asked]


def test_a_local_folder_has_no_revision(here, hub):
    with pytest.raises(InputError, match="revision"):
        locate("models/llama-base", "main")


def test_a_path_with_a_zero_byte_is_refused(here, hub):
    with pytest.raises(InputError):
        locate("models/\0")
