"""One merge in a process of its own: `python -m ligate.bench.measured RECIPE OUT` prints what it cost, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ligate.core.errors import LigateError


def peak_bytes() -> int | None:
    """The most memory this process ever had in use, its imports included; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return _peak_without_proc()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None


def _peak_without_proc() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(recipe: str, out: str) -> int:
    from ligate.verbs.merge import merge

    began = time.perf_counter()
    try:
        merged = merge(recipe, out, overwrite=True)
    except LigateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    seconds = time.perf_counter() - began
    told = {"seconds": seconds, "peak_bytes": peak_bytes(), "digest": merged.digest, "tensors": merged.tensors}
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
