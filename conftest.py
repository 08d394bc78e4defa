"""Settings that every test sees: no network, quiet libraries, the same examples each time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(
    Path(__file__).parent / "src"
)  # processes that a test starts run this checkout, wherever they run
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from hypothesis import HealthCheck, settings

# No deadline: a busy machine is no bug. Derandomised: a failure can be seen again by running the same command.
settings.register_profile(
    "ligate", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ligate")

TESTS = Path(__file__).parent / "tests"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Doctests are looked for in every module; what only supports a test, or runs in another Python, has none."""
    supports = collection_path.suffix == ".py" and collection_path.is_relative_to(TESTS)
    return True if supports and not collection_path.name.startswith("test_") else None


# Whoever starts the tests in the background may have switched Ctrl-C off; tests of interruptions need it, here and in
# the processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
