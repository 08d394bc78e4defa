from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ligate.core.errors import InputError
from ligate.trace.neural.detector import DETAILS, Detector, Size, detected, load, save
from ligate.trace.neural.evidence import Evidence, evidence
from ligate.trace.neural.simulated import lineages, mlp
from ligate.trace.neural.tangent import net, reading
from ligate.trace.neural.training import Question, Schedule, trained

SAYS = reading(torch.randn(8, 6, generator=torch.Generator().manual_seed(1)))
SMALL = Size(16, 2, 1)


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return lineages(range(10))


@pytest.fixture(scope="module")
def detector(asked: list[Question]) -> Detector:
    return trained(asked, Schedule(epochs=12), SMALL)


def right(detector: Detector, questions: list[Question]) -> float:
    with torch.no_grad():
        return sum(int(detector(each.given).argmax()) == each.answer for each in questions) / len(questions)


def test_parents_of_held_out_roots_are_found_although_a_decoy_is_nearer(detector: Detector):
    held_out = lineages(range(100, 104))
    nearest = sum(int(each.given.weight_facts[..., 0].mean(1).argmin()) == each.answer for each in held_out)
    assert right(detector, held_out) > max(0.7, nearest / len(held_out))


def test_the_loss_falls(asked: list[Question]):
    losses: list[float] = []
    trained(asked[:8], Schedule(epochs=6), SMALL, watch=lambda _epoch, loss: losses.append(loss))
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_learns_the_same(asked: list[Question]):
    one, other = (trained(asked[:4], Schedule(epochs=1), SMALL, seed=3) for _ in range(2))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_order_of_candidates_does_not_matter(detector: Detector):
    given = evidence(net(mlp(0), SAYS), {str(seed): net(mlp(seed), SAYS) for seed in (1, 2, 3)})
    order = [2, 0, 1]
    with torch.no_grad():
        torch.testing.assert_close(detector(given)[order], detector(given.of(order)))


def test_probabilities_add_up_and_the_likeliest_comes_first(detector: Detector):
    found = detected(detector, net(mlp(0), SAYS), {str(seed): net(mlp(seed), SAYS) for seed in (1, 2, 3)})
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_it_is_saved_and_loaded(detector: Detector, tmp_path: Path):
    save(detector, tmp_path / "kept", {"roots": 10})
    given: Evidence = evidence(net(mlp(0), SAYS), {str(seed): net(mlp(seed), SAYS) for seed in (1, 2)})
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "kept")(given), detector(given))


def test_what_is_no_detector_is_told(detector: Detector, tmp_path: Path):
    with pytest.raises(InputError, match="no detector"):
        load(tmp_path)
    save(detector, tmp_path / "old")
    told = (tmp_path / "old" / DETAILS).read_text("utf-8")
    (tmp_path / "old" / DETAILS).write_text(told.replace("detector-1", "detector-0"), "utf-8")
    with pytest.raises(InputError, match="another format"):
        load(tmp_path / "old")


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(InputError, match="nothing to learn"):
        trained([])
