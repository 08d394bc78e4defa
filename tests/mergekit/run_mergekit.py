"""Run by mergekit's own interpreter: `python run_mergekit.py JOBS.json`, jobs [{"config": text, "out": folder}, ...].

Prints one JSON line per job: null when it went well, else the error. All jobs share one start-up, which is most of it.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions


def run(job: dict[str, str]) -> str | None:
    try:
        config = MergeConfiguration.model_validate(yaml.safe_load(job["config"]))
        run_merge(config, job["out"], options=MergeOptions(quiet=True, write_model_card=False, random_seed=1))
    except Exception as error:  # whatever it was, the test shows it
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    logging.disable(logging.CRITICAL)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    for job in jobs:
        sys.stdout.write(json.dumps(run(job)) + "\n")


if __name__ == "__main__":
    main()
