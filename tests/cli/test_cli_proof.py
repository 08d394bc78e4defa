"""verify, replay, resume: a result can be checked, made again, and finished after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

SLOW = '''
import time
from ligate import method


@method(title="Slow", source="none", base="unused")
def slow(base, tuned, *, site=None):
    """A mean that takes its time."""
    time.sleep(0.3)
    return tuned.mean(0)
'''


def test_a_result_verifies(desk, fine):
    fine("merge", "recipe.yaml", "out")
    assert "5 tensors" in fine("verify", "out").out
    assert fine("verify", "out", "--json").json["hashed"] is True


def flip(path, at):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda out: flip(out / "model.safetensors", -1), ["tensor norm.weight", "has changed"]),
        (lambda out: flip(out / "config.json", 3), ["file config.json", "has changed"]),
        (lambda out: (out / "tokenizer.json").unlink(), ["file tokenizer.json", "is missing"]),
        (lambda out: (out / "more.py").write_text("x"), ["file more.py", "not part"]),
        (lambda out: (out / "model.safetensors").unlink(), ["out"]),
        (lambda out: os.truncate(out / "model.safetensors", 400), ["model.safetensors"]),
        (
            lambda out: (out / "ligate.json").write_text(
                (out / "ligate.json").read_text().replace('t": "', 't": "0', 4)
            ),
            ["ligate.json"],
        ),
        (lambda out: edit(out / "ligate.json", '"density": 0.4', '"density": 0.5'), ["ligate.json", "seal"]),
        (lambda out: edit(out / "ligate.json", '"method": "merge/ties"', '"method": "merge/dare_ties"'), ["seal"]),
        (lambda out: edit(out / "ligate.json", '"seed": 0', '"seed": 1'), ["ligate.json", "seal"]),
    ],
)
def test_whatever_changed_is_named(desk, fine, ligate, spoil, words):
    fine("merge", "recipe.yaml", "out")
    spoil(desk / "out")
    ran = ligate("verify", "out")
    assert ran.code == 6, ran.err
    assert all(word in ran.err for word in words), ran.err


def test_a_folder_without_a_record_cannot_be_verified(desk, ligate):
    ran = ligate("verify", "base")
    assert ran.code == 3
    assert "ligate.json" in ran.err
    assert ligate("verify", "nowhere").code == 3


@pytest.mark.parametrize("recipe", ["recipe.yaml", "steps.yaml"])
def test_a_replay_gives_the_same_bytes(desk, fine, contents, recipe):
    fine("merge", recipe, "out", "--shard-size", "1KB")
    assert "the same bytes" in fine("replay", "out", "again").out
    assert contents(desk / "out") == contents(desk / "again")


def test_neither_a_replay_nor_an_explanation_trusts_a_changed_record(desk, fine, ligate):
    fine("merge", "recipe.yaml", "out")
    edit(desk / "out" / "ligate.json", '"density": 0.4', '"density": 0.5')
    assert ligate("replay", "out", "again").code == 6
    assert not (desk / "again").exists()
    assert ligate("explain", "out", "--tensor", "norm.weight").code == 6


def test_a_replay_finds_sources_that_have_moved(desk, fine, ligate, contents):
    fine("merge", "recipe.yaml", "out")
    (desk / "a").rename(desk / "moved")
    assert ligate("replay", "out", "again").code == 3
    fine("replay", "out", "again", "--source", "a=moved")
    assert contents(desk / "out") == contents(desk / "again")


def test_a_replay_without_a_log_says_what_it_needs(desk, fine, ligate):
    fine("merge", "recipe.yaml", "out")
    (desk / "out.log.json").unlink()
    ran = ligate("replay", "out", "again")
    assert ran.code == 3
    assert "--source base=PATH --source a=PATH --source b=PATH" in ran.err
    fine("replay", "out", "again", "--source", "base=base", "--source", "a=a", "--source", "b=b")


def test_a_replay_with_quite_another_model_tells_some_of_the_differences(desk, fine, ligate):
    for number, label in enumerate(("base", "a", "b", "other")):
        (desk / label).mkdir(exist_ok=True)
        numbers = {f"layers.{layer}.up.weight": torch.full((4,), float(number)) for layer in range(20)}
        save_file(numbers, desk / label / "model.safetensors")
    fine("merge", "recipe.yaml", "out")
    ran = ligate("replay", "out", "again", "--source", "a=other")
    assert ran.code == 6
    assert ran.err.count("... and 15 more of this kind") == 2
    assert "source a, tensor layers.0.up.weight was another one" in ran.err


def test_a_source_nobody_knows_is_refused(desk, fine, ligate):
    fine("merge", "recipe.yaml", "out")
    ran = ligate("replay", "out", "again", "--source", "bas=base")
    assert ran.code == 2
    assert "'base'" in ran.err


def test_a_replay_with_another_input_names_it(desk, fine, ligate):
    fine("merge", "recipe.yaml", "out")
    flip(desk / "a" / "model.safetensors", -1)
    ran = ligate("replay", "out", "again")
    assert ran.code == 6
    assert "source a, tensor norm.weight was another one" in ran.err
    assert "tensor norm.weight differs" in ran.err


DEEP = """
from pathlib import Path

import torch
from ligate import method


@method(title="Deep", source="none", base="unused", reach="tensor")
def deep(base, tuned, *, site=None):
    "Decomposes."
    Path("begun").touch()
    for _ in range(100):
        torch.linalg.svd(torch.ones(900, 900).tril())
    return tuned[0]
"""


def test_an_interrupt_within_a_decomposition_is_no_abort(desk):
    (desk / "deep.py").write_text(DEEP)
    words = ("merge", "--method", "deep", "a", "b", "--plugin", "deep.py", "--threads", "1", "-o", "out")
    process = subprocess.Popen([sys.executable, "-m", "ligate", *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (desk / "begun").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err.splitlines()[0]) == (130, "ligate: interrupted")
    assert "terminate" not in err


def test_an_interrupted_merge_says_how_to_go_on_and_goes_on(desk, fine, contents):
    (desk / "slow.py").write_text(SLOW)
    merge = ("merge", "--method", "slow", "a", "b", "--plugin", "slow.py", "--threads", "1", "-o")
    fine(*merge, "whole")
    process = subprocess.Popen(
        [sys.executable, "-m", "ligate", *merge, "out"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    journal = desk / "out.partial" / "step-1.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") > 1):  # the plan and one finished tensor
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "ligate: interrupted\n  -> what is done is kept; go on with: ligate resume out\n"
    assert not (desk / "out").exists()
    claimed = journal.read_text().count('"segment"')
    assert 0 < claimed < 5
    began = time.monotonic()
    fine("resume", "out", "--threads", "1")
    assert time.monotonic() - began < (5 - claimed) * 0.3 + 2.5
    assert contents(desk / "out") == contents(desk / "whole")
    assert not (desk / "out.partial").exists()
    assert (desk / "out.log.json").exists()


@pytest.fixture
def killed(desk, monkeypatch):
    """A merge that died when it had computed everything, before the output got its name."""
    from ligate.cli.main import main
    from ligate.verbs import execute

    def die(*arguments, **options):
        raise KeyboardInterrupt

    def kill(recipe="recipe.yaml", at="publish"):
        with monkeypatch.context() as patch:
            patch.setattr(execute, at, die)
            assert main(["merge", recipe, "out", "--quiet"]) == 130
        return desk / "out.partial"

    return kill


def test_a_merge_in_the_way_must_be_resumed_or_thrown_away(killed, ligate, fine):
    killed()
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 5
    assert "ligate resume out" in ran.err
    fine("merge", "recipe.yaml", "out", "--overwrite")


def test_finished_steps_are_not_made_again(desk, killed, fine, contents, monkeypatch):
    fine("merge", "steps.yaml", "whole")
    killed("steps.yaml", "write_sidecars")
    mean = desk / "out.partial" / "steps" / "mean" / "model.safetensors"
    before = mean.stat().st_mtime_ns
    from ligate.verbs import execute

    seen = []
    settle = execute.settle
    monkeypatch.setattr(execute, "settle", lambda place: (seen.append(mean.stat().st_mtime_ns), settle(place)))
    fine("resume", "out")
    assert seen == [before]
    assert contents(desk / "out") == contents(desk / "whole")


def test_bytes_that_do_not_fit_the_journal_are_made_again(desk, killed, fine, contents):
    fine("merge", "recipe.yaml", "whole")
    partial = killed()
    flip(partial / "model" / "model.safetensors", -1)
    with (partial / "step-1.jsonl").open("a") as journal:
        journal.write('{"torn": ')
    fine("resume", "out")
    assert contents(desk / "out") == contents(desk / "whole")


@pytest.mark.parametrize("at", ["run", "FolderSink"])
def test_where_nothing_was_done_nothing_is_left(desk, contents, killed, at):
    before = contents(desk)
    killed(at=at)
    assert contents(desk) == before


def test_a_full_disk_is_told_and_what_is_done_is_kept(desk, fine, ligate, contents, monkeypatch):
    from ligate.core.errors import StorageError
    from ligate.verbs import execute

    def full(*arguments):
        raise StorageError("the disk is full", where="out.partial", hint="make room, or write to another disk.")

    fine("merge", "recipe.yaml", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(execute, "write_sidecars", full)
        ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 5
    assert ran.err.splitlines()[1:] == [
        "  -> make room, or write to another disk.",
        "  -> what is done is kept; go on with: ligate resume out",
    ]
    fine("resume", "out")
    assert contents(desk / "out") == contents(desk / "whole")


def test_a_changed_input_refuses_to_be_resumed(desk, killed, ligate):
    killed()
    os.utime(desk / "a" / "model.safetensors", (1, 1))
    ran = ligate("resume", "out")
    assert ran.code == 3
    assert "has changed since" in ran.err
    assert (desk / "out.partial").exists()


def test_an_input_that_changes_under_the_merge_is_told(desk, ligate, monkeypatch, contents):
    from ligate.verbs import execute

    before = contents(desk)
    real = execute.run

    def run(*arguments, **options):
        try:
            return real(*arguments, **options)
        finally:
            os.utime(desk / "a" / "model.safetensors", (1, 1))

    monkeypatch.setattr(execute, "run", run)
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 3
    assert "has changed since the merge began" in ran.err
    assert contents(desk) == before


def test_a_changed_plugin_refuses_to_be_resumed(desk, monkeypatch, ligate):
    """Half of the tensors by the old rule and half by the new one would be nobody's merge."""
    from ligate.verbs import execute

    def die(*arguments, **options):
        raise KeyboardInterrupt

    (desk / "slow.py").write_text(SLOW)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "publish", die)
        assert ligate("merge", "--method", "slow", "a", "b", "--plugin", "slow.py", "-o", "out").code == 130
    (desk / "slow.py").write_text(SLOW + "\n# another rule\n")
    ran = ligate("resume", "out")
    assert ran.code == 3
    assert "slow.py: has changed since" in ran.err


def test_another_version_does_not_finish_what_this_one_began(killed, ligate, monkeypatch):
    from ligate.verbs import stamps

    killed()
    now = stamps.versions()
    monkeypatch.setattr(stamps, "versions", lambda: {**now, "torch": "99.0"})
    ran = ligate("resume", "out")
    assert ran.code == 3
    assert f"the merge was begun with torch {now['torch']}, this is 99.0" in ran.err


def test_room_that_is_taken_already_is_not_needed_again(desk, killed, fine, monkeypatch):
    from ligate.verbs import preflight

    monkeypatch.setattr(preflight, "SIDECARS", 0)
    killed()
    monkeypatch.setattr(preflight, "free_bytes", lambda out: 10)
    fine("resume", "out")


def test_paths_hold_from_another_folder(desk, killed, fine, monkeypatch, contents):
    fine("merge", "recipe.yaml", "whole")
    killed()
    (desk / "elsewhere").mkdir()
    monkeypatch.chdir(desk / "elsewhere")
    fine("resume", desk / "out")
    assert contents(desk / "out") == contents(desk / "whole")


def test_an_interruption_after_the_naming_only_clears_up(desk, fine, monkeypatch):
    from ligate.cli.main import main
    from ligate.verbs import execute

    def die(place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execute, "settle", die)
        assert main(["merge", "recipe.yaml", "out"]) == 130
    assert (desk / "out").exists()
    fine("resume", "out")
    assert not (desk / "out.partial").exists()
    assert json.loads((desk / "out.log.json").read_text())["digest"]


def test_there_is_nothing_to_resume(desk, fine, ligate):
    assert ligate("resume", "out").code == 5
    fine("merge", "recipe.yaml", "out")
    ran = ligate("resume", "out")
    assert ran.code == 5
    assert "is finished" in ran.err


def test_a_result_may_move_and_still_verifies(desk, fine):
    fine("merge", "recipe.yaml", "out")
    shutil.move(desk / "out", desk / "moved")
    fine("verify", "moved")


@pytest.fixture
def caught_between(desk, fine, monkeypatch):
    """A merge over out/ that was killed when the old result had lost its name and the new one had none yet."""
    from ligate.cli.main import main
    from ligate.io import publish

    def die(source, target):
        raise SystemExit(137)

    fine("merge", "--method", "linear", "a", "b", "-o", "out")
    before = {path.name: path.read_bytes() for path in (desk / "out").iterdir()}
    rename = os.rename
    with monkeypatch.context() as patch:
        # The first rename is done, the second and the repair of a living process are not.
        patch.setattr(publish.os, "rename", lambda s, t: rename(s, t) if str(s).endswith("out") else die(s, t))
        patch.setattr("ligate.verbs.workplace.Workplace.remove", lambda place: None)
        with pytest.raises(SystemExit):
            main(["merge", "recipe.yaml", "out", "--overwrite", "--quiet"])
    assert not (desk / "out").exists()
    return before


def test_a_result_that_was_being_replaced_comes_back(desk, caught_between, fine):
    ran = fine("verify", "out")
    assert "out is back" in ran.err
    assert {path.name: path.read_bytes() for path in (desk / "out").iterdir()} == caught_between


def test_a_replacement_that_was_killed_is_finished(desk, caught_between, fine, contents):
    fine("merge", "recipe.yaml", "whole")
    fine("resume", "out")
    assert contents(desk / "out") == contents(desk / "whole")
    assert not [path.name for path in desk.iterdir() if "replaced" in path.name or "partial" in path.name]


def test_a_merge_after_a_killed_replacement_begins_with_what_was_there(desk, caught_between, fine, ligate):
    assert "already holds files" in ligate("merge", "recipe.yaml", "out").err
    assert {path.name: path.read_bytes() for path in (desk / "out").iterdir()} == caught_between
    fine("merge", "recipe.yaml", "out", "--overwrite")
    assert not [path.name for path in desk.iterdir() if "replaced" in path.name or "partial" in path.name]


def test_a_replacement_that_could_not_clear_up_does_so_later(desk, fine, monkeypatch):
    from ligate.cli.main import main
    from ligate.io import publish

    def die(old):
        raise KeyboardInterrupt

    fine("merge", "--method", "linear", "a", "b", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(publish, "discard", die)
        assert main(["merge", "recipe.yaml", "out", "--overwrite", "--quiet"]) == 130
    assert (desk / ".out.replaced").is_dir()
    fine("verify", "out")
    assert (desk / ".out.replaced").is_dir()  # who only looks removes nothing
    fine("resume", "out")
    assert not (desk / ".out.replaced").exists()
    fine("verify", "out")
