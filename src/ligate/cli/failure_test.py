from __future__ import annotations

import errno

import pytest
import typer

from ligate.cli.app import app
from ligate.cli.failure import failure
from ligate.core import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("x"), 2),
        (errors.InputError("x"), 3),
        (errors.NonFiniteError("x"), 4),
        (errors.StorageError("x"), 5),
        (errors.VerifyError("x"), 6),
        (errors.Problems([errors.InputError("x"), errors.RecipeError("y")]), 3),
        (OSError(errno.ENOSPC, "full", "out"), 5),
        (PermissionError(errno.EACCES, "no", "out"), 5),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes_go_by_kind(error, code):
    assert failure(error).exit_code == code


def test_a_message_says_what_where_and_what_to_do():
    told = failure(errors.InputError("is cut off", where="a.safetensors", hint="copy it again."))
    assert told.text == "a.safetensors: is cut off\n  -> copy it again."


def test_several_problems_are_counted_and_all_told():
    told = failure(errors.Problems([errors.RecipeError("one"), errors.RecipeError("two")])).text
    assert told == "2 problems\none\ntwo"


def test_an_unknown_exception_is_one_line_and_a_way_out():
    told = failure(KeyError("weird\nstate")).text
    assert told.splitlines()[0].startswith("internal error: KeyError")
    assert "--debug" in told
    assert len(told.splitlines()) == 2


def test_notes_say_how_to_go_on():
    stop = KeyboardInterrupt()
    stop.add_note("go on with: ligate resume out")
    assert failure(stop).text == "interrupted\n  -> go on with: ligate resume out"


def test_machines_get_the_same():
    assert failure(errors.InputError("x", where="f")).as_data() == {
        "error": {"kind": "InputError", "message": "f: x", "exit_code": 3}
    }


@pytest.mark.parametrize(
    ("option", "told"),
    [("--hlep", "did you mean '--help'?"), ("--otu", "did you mean '--out'?"), ("--density", "`--set density=VALUE`")],
)
def test_a_misspelt_option_gets_the_nearest_and_a_parameter_its_own_way(option, told):
    command = typer.main.get_command(app)
    with (
        pytest.raises(Exception, match=r"[Nn]o such option") as error,
        command.make_context("ligate", ["merge"]) as top,
    ):
        top.command.commands["merge"].make_context("merge", [option, "x"], parent=top)
    assert told in failure(error.value).text
