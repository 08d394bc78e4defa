from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
sys.path.insert(0, {folder!r})
from ligate.cli.lazy import make_lazy
make_lazy("heavy")
import heavy
import heavy as again
import marks
sys.stdout.write(f"{{marks.runs}} ")
sys.stdout.write(f"{{heavy.value}} {{again.value}} {{marks.runs}} {{heavy is sys.modules['heavy']}}")
"""


@pytest.fixture
def heavy(tmp_path):
    (tmp_path / "marks.py").write_text("runs = 0\n")
    (tmp_path / "heavy.py").write_text("import marks\nmarks.runs += 1\nvalue = 7\n")
    return tmp_path


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_lazy_module_runs_once_and_not_before_it_is_used(heavy):
    assert run(PROBE.format(folder=str(heavy))).stdout == "0 7 7 1 True"


def test_a_module_that_fails_fails_where_it_is_used(heavy):
    (heavy / "heavy.py").write_text("raise RuntimeError('broken')\n")
    ran = run(PROBE.format(folder=str(heavy)))
    assert ran.stdout == "0 "
    assert "RuntimeError: broken" in ran.stderr


def test_a_module_that_is_not_installed_is_left_to_the_import_that_needs_it():
    ran = run("from ligate.cli.lazy import make_lazy\nmake_lazy('no_such_module')\nimport no_such_module")
    assert "ModuleNotFoundError" in ran.stderr


def test_threads_wait_until_all_of_a_module_is_there(heavy):
    (heavy / "heavy.py").write_text("import marks, time\nmarks.runs += 1\ntime.sleep(0.2)\nvalue = 7\n")
    program = f"""
import sys, threading
sys.path.insert(0, {str(heavy)!r})
from ligate.cli.lazy import make_lazy
make_lazy("heavy")
import heavy, marks
found = []
crew = [threading.Thread(target=lambda: found.append(heavy.value)) for _ in range(4)]
for one in crew: one.start()
for one in crew: one.join()
sys.stdout.write(f"{{found}} {{marks.runs}}")
"""
    assert run(program).stdout == "[7, 7, 7, 7] 1"
