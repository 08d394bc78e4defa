"""`python benchmarks/lineage_large.py --gigabytes 1`: two sharded checkpoints side by side, against plain reading.

Two models of bfloat16 layers, each in shards. The pass of `ligate trace` (inner products, moments, samples) is timed
beside reading the same bytes with one `read` after another, alternately; peak memory is that of the process that
traces.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import torch
from safetensors.torch import save_file

from ligate.io import open_source
from ligate.trace.gathering import gather
from ligate.trace.samples import samples

FOLDER = Path(__file__).parent.parent / "build" / "bench-lineage-large"
_WIDTH, _BUFFER = 4096, 8 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of each model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trace", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.trace:
        trace()
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    make(round(asked.gigabytes * 1e9 / (2 * _WIDTH * _WIDTH)))
    try:
        for _ in range(asked.rounds):
            begin, cpu = time.perf_counter(), time.process_time()
            size = read()
            plain, plain_cpu = time.perf_counter() - begin, time.process_time() - cpu
            ran = subprocess.run([sys.executable, __file__, "--trace"], check=True, capture_output=True, text=True)
            seconds, cpu_seconds, peak = map(float, ran.stdout.split())
            print(
                f"{size / 1e9:.1f} GB: read {plain:.1f} s (cpu {plain_cpu:.1f}), traced {seconds:.1f} s"
                f" (cpu {cpu_seconds:.1f}), {seconds / plain:.1f} times as long, peak {peak:.2f} GB",
                flush=True,
            )
    finally:
        shutil.rmtree(FOLDER)


def make(layers: int) -> None:
    """`a`, and `b` that was tuned from it: one matrix a layer, one layer a shard."""
    draw = torch.Generator().manual_seed(0)
    names = {f"layers.{number}.weight": f"model-{number:05}.safetensors" for number in range(layers)}
    for label in ("a", "b"):
        (FOLDER / label).mkdir(parents=True)
        (FOLDER / label / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    for name, file in names.items():
        weight = 0.02 * torch.randn(_WIDTH, _WIDTH, generator=draw)
        change = 0.001 * torch.randn(_WIDTH, _WIDTH, generator=draw)
        save_file({name: weight.bfloat16()}, FOLDER / "a" / file)
        save_file({name: (weight + change).bfloat16()}, FOLDER / "b" / file)


def read() -> int:
    total, buffer = 0, bytearray(_BUFFER)
    for path in sorted(FOLDER.rglob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total


def trace() -> None:
    begin, cpu = time.perf_counter(), time.process_time()
    with (
        closing(open_source(str(FOLDER / "a"), label="a")) as a,
        closing(open_source(str(FOLDER / "b"), label="b")) as b,
    ):
        gathered, _ = gather([a, b])
        samples([a, b], gathered)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(time.perf_counter() - begin, time.process_time() - cpu, peak)


if __name__ == "__main__":
    main()
