"""Every probe ends with its exit code and one message that helps, writes nothing and changes no input."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from textwrap import dedent

import pytest
from probes import LINEAR, PROBES, STORAGE, Probe
from tiny_llama import random_tensors, write_model

from ligate.cli.main import main
from ligate.verbs import execute

LONGEST = 2500  # characters: three names and a count, however many tensors are wrong


@pytest.fixture
def room(tmp_path, monkeypatch) -> Path:
    """The current folder, with models/base, models/a, models/b, and models/sharded in two files."""
    for seed, label in enumerate(("base", "a", "b")):
        write_model(tmp_path / "models" / label, random_tensors(seed))
    write_model(tmp_path / "models" / "sharded", random_tensors(4), shards=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(probe: Probe, room: Path) -> dict[str, str]:
    """Spoils the models, writes the config; returns the digests of all files that lie there."""
    probe.prepare(room / "models")
    (room / "probe.yaml").write_text(dedent(probe.recipe))
    for name, text in probe.files.items():
        (room / name).parent.mkdir(exist_ok=True)
        (room / name).write_text(text)
    return digests(room)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def folders(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_dir()}


def expect_message(probe: Probe, error: str, output: str) -> None:
    assert "Traceback" not in error + output
    assert "internal error" not in error
    assert 0 < len(error) < LONGEST
    for word in probe.words:
        assert word in error, error
    if probe.line is not None:
        assert f"probe.yaml:{probe.line}" in error, error


def by_name(probe: Probe) -> str:
    return probe.name


@pytest.mark.parametrize("probe", PROBES, ids=by_name)
def test_merge_refuses_and_leaves_everything_as_it_was(probe, room, capsys, monkeypatch):
    before = prepared(probe, room)
    stood = folders(room)
    if probe.headers:
        monkeypatch.setattr(execute, "run", None)  # calling it would be an internal error
    code = main(["merge", "probe.yaml", probe.out])
    output, error = capsys.readouterr()
    assert code == probe.code, error
    expect_message(probe, error, output)
    assert digests(room) == before
    assert folders(room) == stood


@pytest.mark.parametrize("probe", [one for one in PROBES if one.headers and one.code != STORAGE], ids=by_name)
def test_check_finds_what_headers_can_tell(probe, room, capsys):
    before = prepared(probe, room)
    code = main(["check", "probe.yaml"])
    output, error = capsys.readouterr()
    assert code == probe.code, error
    expect_message(probe, error + output, "")
    assert digests(room) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_must_not_be_written_is_named(room, capsys):
    (room / "shut").mkdir(mode=0o555)
    (room / "probe.yaml").write_text(LINEAR)
    assert main(["merge", "probe.yaml", "shut/out"]) == STORAGE
    assert "shut" in capsys.readouterr().err


def test_the_good_models_merge(room):
    """What the probes spoil is fine before."""
    (room / "probe.yaml").write_text(
        "merge_method: ties\nbase_model: models/base\ntokenizer_source: base\nparameters: {weight: 1}\n"
        "models: [{model: models/a}, {model: models/b}, {model: models/sharded}]\n"
    )
    assert main(["merge", "probe.yaml", "out", "--quiet"]) == 0
    assert (room / "out" / "model.safetensors").is_file()
