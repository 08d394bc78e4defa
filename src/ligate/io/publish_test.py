from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ligate.core.errors import StorageError
from ligate.core.tensors import Header
from ligate.io.publish import aside_of, publish, restore
from ligate.io.writer import FolderSink

HEADERS = {"a": Header("F32", (2, 3)), "b": Header("BF16", (4,))}


@pytest.fixture
def partial(tmp_path):
    folder = tmp_path / "out.partial"
    sink = FolderSink(folder, HEADERS)
    sink.finish()
    sink.close()
    return folder


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_the_result_takes_its_place(tmp_path, partial, before):
    if before == "empty":
        (tmp_path / "out").mkdir()
    publish(partial, tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["model.safetensors"]


def test_a_used_output_is_refused_unless_it_is_to_be_replaced_whole(tmp_path, partial):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "out" / "model-00001-of-00002.safetensors").write_text("old")
    with pytest.raises(StorageError, match=r"already holds files\n.*--overwrite"):
        publish(partial, tmp_path / "out")
    assert partial.exists()
    publish(partial, tmp_path / "out", overwrite=True, fsync=False)
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["model.safetensors"]


def test_a_rename_that_fails_puts_the_old_result_back(tmp_path, partial, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if source == partial:
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StorageError, match="Permission denied"):
        publish(partial, tmp_path / "out", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["out", "out.partial"] and os.listdir(tmp_path / "out") == ["config.json"]


def test_only_a_model_is_ever_replaced(tmp_path, partial, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="holds no model"):
        publish(partial, home, overwrite=True)
    (home / "config.json").write_text("{}")
    (home / ".git").mkdir()
    with pytest.raises(StorageError, match="repository"):
        publish(partial, home, overwrite=True)
    (home / ".git").rmdir()
    monkeypatch.chdir(home)
    with pytest.raises(StorageError, match="current folder"):
        publish(partial, Path(), overwrite=True)
    assert (home / "thesis.tex").exists()


def test_a_collection_of_models_is_not_replaced_by_one(tmp_path, partial):
    (tmp_path / "out").mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        (tmp_path / "out" / name).write_text("old")
    with pytest.raises(StorageError, match="holds no model"):
        publish(partial, tmp_path / "out", overwrite=True)
    assert sorted(os.listdir(tmp_path / "out")) == ["one.safetensors", "two.safetensors"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_an_output_that_is_no_folder_is_refused(tmp_path, partial, kind):
    if kind == "file":
        (tmp_path / "out").write_text("")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=f"is a {kind}"):
        publish(partial, tmp_path / "out", overwrite=True)


class Killed(BaseException):
    """What a process that is killed would never catch."""


@pytest.mark.parametrize("before", ["first", "second"])
def test_a_kill_while_the_name_changes_hands_loses_nothing(tmp_path, partial, monkeypatch, before):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("{}")
    with monkeypatch.context() as patch:
        rename = os.rename
        calls: list[Path] = []

        def dying(source: Path, target: Path) -> None:
            calls.append(source)
            if len(calls) > (before == "second"):  # nothing after the kill happens, neither rename nor repair
                raise Killed
            rename(source, target)

        patch.setattr(os, "rename", dying)
        with pytest.raises(Killed):
            publish(partial, out, overwrite=True)
    assert out.exists() == (before == "first")
    assert restore(out) == (before == "second")
    assert os.listdir(out) == ["config.json"]
    assert not restore(out)
    publish(partial, out, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["out"] and os.listdir(out) == ["model.safetensors"]


def test_what_stands_aside_is_never_overwritten(tmp_path, partial):
    for folder in (tmp_path / "out", aside_of(tmp_path / "out")):
        folder.mkdir()
        (folder / "config.json").write_text(folder.name)
    assert not restore(tmp_path / "out")
    with pytest.raises(StorageError, match=r"\.out\.replaced"):
        publish(partial, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "config.json").read_text() == "out"
    assert (aside_of(tmp_path / "out") / "config.json").read_text() == ".out.replaced"
