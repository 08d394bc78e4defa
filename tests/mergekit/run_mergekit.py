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
from mergekit.graph import Executor
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from mergekit.scripts.multimerge import load_config, make_tasks


def run(job: dict[str, str]) -> str | None:
    options = MergeOptions(
        quiet=True,
        write_model_card=False,
        random_seed=1,
        lora_merge_cache=job["out"] + "-lora",
        lora_merge_dtype="float32",
    )
    try:
        if "\n---" in job["config"]:
            run_several(job["config"], job["out"], options)
        else:
            run_merge(MergeConfiguration.model_validate(yaml.safe_load(job["config"])), job["out"], options=options)
    except Exception as error:  # whatever it was, the test shows it
        return f"{type(error).__name__}: {error}"
    return None


def run_several(config: str, out: str, options: MergeOptions) -> None:
    """As mergekit-multi does it; where every merge has a name, the last one is the result."""
    between = out + "-between"
    merges, dependencies = load_config(config, between)
    Executor(make_tasks(merges, dependencies, options, between, out, True), "cpu", "cpu").execute()
    if None not in merges:
        (Path(between) / [*yaml.safe_load_all(config)][-1]["name"]).rename(out)


def main() -> None:
    logging.disable(logging.CRITICAL)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    for job in jobs:
        sys.stdout.write(json.dumps(run(job)) + "\n")


if __name__ == "__main__":
    main()
