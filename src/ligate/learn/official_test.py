"""The same numbers as the authors' own code, run on a tiny network.

Stored are numbers that these functions gave: AdaMerging's `AdaMerging.forward`, `softmax_entropy` and
`ties_merging_split` (EnnengYang/AdaMerging), aTLAS' `WeightedImageEncoder` and `mask_multiply` (fredzzhang/atlas),
Concrete's `ConcreteMask` and `LayerWiseMergedModel` (tanganke/subspace_fusion), each in the loop of its script. Weights
and inputs are waves, so that any library has the same.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ligate.learn.bilevel import Bilevel
from ligate.learn.gradient import Adam, Learned, Task
from ligate.learn.masks import MASK
from ligate.learn.objectives import Batch, Mixed
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.processed import elected

SHAPES = {"0.weight": (8, 5), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}


def waves(count: int, seed: int) -> torch.Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64) * (1 + 0.37 * seed) + seed).float()


def weights(seed: int, size: float) -> dict[str, torch.Tensor]:
    each = enumerate(SHAPES.items())
    return {name: size * waves(torch.Size(s).numel(), seed + 10 * i).reshape(s) for i, (name, s) in each}


BASE = weights(0, 0.6)
EXPERTS = [{name: BASE[name] + delta for name, delta in weights(k, 0.4).items()} for k in (1, 2)]


def inputs(k: int, turn: int) -> torch.Tensor:
    return 1.5 * waves(40, 100 + 10 * k + turn).reshape(8, 5)


def labels(k: int, turn: int) -> torch.Tensor:
    return (waves(8, 200 + 10 * k + turn) * 1.5 + 1.5).long().clamp(0, 2)


def batch(k: int, turn: int) -> Batch:
    return Batch(inputs(k, turn), labels(k, turn))


def doubled(k: int, turn: int) -> Batch:
    """AdaMerging asks two batches of a task in one step."""
    return Batch(torch.cat([inputs(k, 2 * turn), inputs(k, 2 * turn + 1)]))


def learned(preset: Preset, solver: Adam, make=batch, experts=EXPERTS, signs=(1.0, 1.0)) -> Learned:
    """With the sum of the losses of two tasks, as they have it; here it is their mean."""
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    tasks = [Task(f"task {k}", module, [make(k, turn) for turn in range(12)], weight=signs[k]) for k in range(2)]
    objective = Mixed({preset.objective: 2.0})
    return replace(preset, solver=replace(solver, keep="last"), objective=objective).learned(
        module, BASE, experts, tasks
    )


def rows(found: Learned) -> list[list[float]]:
    return [found.numbers[name].flatten().tolist() for name in SHAPES]


def close(found: list[list[float]], theirs: list[list[float]]) -> None:
    torch.testing.assert_close(torch.tensor(found), torch.tensor(theirs), rtol=0, atol=1e-5)


def test_adamerging_layer_wise():
    found = learned(PRESETS["adamerging"], Adam(6, 0.05), doubled)
    theirs = [[0.2749062776565552, 0.5841156840324402], [0.597624659538269, 0.004250720143318176],
              [0.004737421870231628, 0.5700793266296387], [0.0018930025398731232, 0.5982787609100342]]  # fmt: skip
    close(rows(found), theirs)


def test_adamerging_task_wise():
    found = learned(PRESETS["adamerging_task"], Adam(6, 0.05), doubled)
    close([found.numbers[""].tolist()], [[0.29547861218452454, 0.5796146392822266]])


def test_adamerging_plus_plus():
    found = learned(PRESETS["adamerging_pp"], Adam(6, 0.05), doubled)
    theirs = [[0.4700326919555664, 0.564946174621582], [0.5925711989402771, 0.5907829999923706],
              [0.523998498916626, 0.5985221266746521], [0.30000001192092896, 0.5993408560752869]]  # fmt: skip
    close(rows(found), theirs)


def test_task_vectors_trimmed_over_the_model_and_elected():
    first = elected(BASE, EXPERTS, 0.2)[0]
    kept = {name: (first[name] - BASE[name]).flatten() for name in SHAPES}
    places = kept["0.weight"].nonzero().flatten().tolist()
    assert places == [4, 11, 13, 18, 20, 27, 29, 34, 36]
    torch.testing.assert_close(
        kept["0.weight"][places],
        torch.tensor([0.399997, -0.394812, 0.388502, 0.378873, -0.398872, 0.398378, -0.38075, -0.387034, 0.395728]),
        atol=1e-6, rtol=0,
    )  # fmt: skip
    assert kept["0.bias"].nonzero().flatten().tolist() == [7]


def test_atlas():
    found = learned(PRESETS["atlas"], Adam(6, 0.05, decay=0.1, clip=1.0))
    theirs = [[-0.17708931863307953, 0.06817130744457245], [-0.04064152017235756, 0.2515704035758972],
              [0.1615191251039505, -0.1789524406194687], [0.24345950782299042, -0.2395487129688263]]  # fmt: skip
    close(rows(found), theirs)


def test_atlas_negation():
    found = learned(PRESETS["atlas_negation"], Adam(6, 0.05, decay=0.1, clip=1.0), experts=EXPERTS[:1],
                    signs=(-1.0, 1.0))  # fmt: skip
    close(rows(found), [[-0.09053398668766022], [-0.1258862167596817], [-0.02444704994559288], [-0.05929930508136749]])


def test_atlas_in_parts(monkeypatch):
    by = Coefficients("tensor", 0.0, parts=3, scattered=True)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([0, 1, 2, 0]))
    deltas = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    numbers = {"w": torch.tensor([[0.5, -0.25, 2.0], [1.0, 0.0, -1.0]])}
    assert by.merged("w", torch.zeros(2, 2), deltas, numbers).tolist() == [[5.5, -0.5], [-1.0, 10.0]]


def test_concrete():
    """Their classes in their loop, but the coefficients are set back before the merge of the inner step (`Bilevel`)."""
    preset = PRESETS["concrete"]
    mask = learned(replace(preset, then=None), Bilevel(5, 0.05))
    found = [mask.numbers[f"{MASK}{name}"].flatten() for name in SHAPES]
    close([found[0][:4].tolist()], [[0.034969, -0.163871, -0.024686, -0.025935]])
    close([found[2][:4].tolist()], [[0.016703, -0.207453, -0.205138, 0.019094]])
    close([found[3].tolist()], [[-0.196834, -0.066463, 0.066319]])
    torch.testing.assert_close(torch.tensor([float(one.abs().sum()) for one in found]),
                               torch.tensor([5.950781, 0.897814, 3.114289, 0.329616]), rtol=1e-5, atol=0)  # fmt: skip
    held = preset.then(preset, BASE, EXPERTS, mask)
    theirs = [[0.3060259521007538, 0.34747031331062317], [0.3487844169139862, 0.2518915832042694],
              [0.28932642936706543, 0.34667378664016724], [0.25051987171173096, 0.34954771399497986]]  # fmt: skip
    close(rows(learned(held, Adam(5, 0.01))), theirs)
