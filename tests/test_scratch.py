"""A rule that needs a whole tensor says how much memory it works in; the scheduler admits by that, so it must hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SHAPE, MODELS = (384, 1024), 3
OVERHEAD = 16 << 20  # pieces that the allocator keeps, code of a library that is loaded at its first use

MEASURE = f"""
import ctypes, gc, json
from pathlib import Path
import torch
from ligate.core.spare import spare_threads
from ligate.verbs.methods import cards

FEWER = {{"steps": 2}}  # of iterations: they take time, not memory

def bytes_of(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def measured(rule, *arguments, **params):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = bytes_of("VmRSS")
    result = rule(*arguments, **params)
    return bytes_of("VmHWM") - before - result.numel() * result.element_size()

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
base = torch.randn({SHAPE}, generator=generator)
tuned = torch.stack([base + 0.01 * torch.randn({SHAPE}, generator=generator) for _ in range({MODELS})])
torch.linalg.eigh(torch.randn(64, 64, dtype=torch.float64))
told = {{}}
for card in cards():
    if card.reach != "tensor" or card.foreign:
        continue
    fewer = {{name: value for name, value in FEWER.items() if name in card.params}}
    params = {{name: param.default for name, param in card.params.items()}} | fewer
    room = {{"grams": torch.eye({SHAPE[1]}), "factor": torch.ones({SHAPE})}}
    given = {{name: [room[name]] * {MODELS} for name in card.measured}}
    with torch.inference_mode(), spare_threads(2):
        measured(card.function, base, tuned, **fewer, **given)  # loads what it needs
        used = measured(card.function, base, tuned, **fewer, **given)
    told[card.id] = [used, card.scratch(params, {SHAPE}, {MODELS})]
print(json.dumps(told))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak memory")
def test_rules_on_whole_tensors_stay_within_what_they_declare():
    ran = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert {"merge/tsv_m", "merge/iso_c", "merge/wudi"} <= set(told)
    assert not {name: pair for name, pair in told.items() if pair[0] > pair[1] + OVERHEAD}
