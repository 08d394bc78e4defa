"""A model whose units were moved is brought back, whatever the architecture: through files, recipes and replays."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ligate import (
    InputError,
    Problems,
    RecipeError,
    VerifyError,
    align_models,
    check,
    explain,
    merge,
    replay,
    resume,
    verify,
)
from ligate.align.alignment import Alignment, Made, load
from ligate.align.architecture import architecture_of
from ligate.align.finding import traced_network
from ligate.align.members import random_member
from ligate.align.stored import read_tensor
from ligate.align.view import in_coordinates
from ligate.io import open_source
from ligate.verbs.align import check_groups, movable
from ligate.verbs.watch import Nobody

transformers = pytest.importorskip("transformers")
pytest.importorskip("scipy")
from tiny_models import by_name  # noqa: E402

FAMILIES = ["bert", "llama", "vit", "mixtral", "qwen3"]


def written(name: str, folder: Path, seed: int = 0) -> Path:
    """A tiny model with weights large enough that all of it matters."""
    model = by_name(name).build(seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=draw))
    model.save_pretrained(folder)
    return folder


def moved_copy(model: Path, folder: Path, seed: int = 1) -> Path:
    """The same function, its units moved at random in every way that the network allows but stretching."""
    with closing(open_source(str(model), label="a")) as source:
        network = traced_network(source, architecture_of(model, "a"))
        draw, maps, view = torch.Generator().manual_seed(seed), [], network.source
        for group in network.groups:
            state = {name: read_tensor(view, name) for name in view.headers()}
            maps.append(random_member(group, state, draw, stretch=False))
            view = in_coordinates(network.source, Alignment(tuple(maps), Made("random")))
        shown = in_coordinates(source, Alignment(tuple(maps), Made("random"), network.names.joined))
        tensors = {name: read_tensor(shown, name) for name in shown.headers()}
    folder.mkdir()
    for file in model.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with closing(open_source(str(folder), label="m")) as source:
        return {name: read_tensor(source, name) for name in source.headers()}


def said(name: str, folder: Path) -> torch.Tensor:
    architecture = by_name(name)
    model = architecture.kind.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model(**architecture.inputs)
    return out[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_moved_copy_is_brought_back(name, tmp_path):
    a = written(name, tmp_path / "a")
    b = moved_copy(a, tmp_path / "b")
    found = align_models(a, b, tmp_path / "out")
    assert found.before < 0.5 and found.after > 1 - 1e-6 and not found.same
    before, moved, after = weights(a), weights(b), weights(tmp_path / "out")
    assert any(not torch.allclose(before[key], moved[key], atol=0.1) for key in before)
    assert list(before) == list(after)
    for key in before:
        torch.testing.assert_close(after[key], before[key], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(said(name, tmp_path / "out"), said(name, a), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said(name, b), said(name, a), atol=1e-3, rtol=1e-3)
    assert verify(tmp_path / "out").tensors == len(before)


def test_the_record_says_how_it_was_aligned(tmp_path):
    a = written("bert", tmp_path / "a")
    b = moved_copy(a, tmp_path / "b")
    align_models(a, b, tmp_path / "out", seed=3, starts=2)
    record = json.loads((tmp_path / "out" / "ligate.json").read_text())
    told = record["sources"]["b"]["alignment"]
    assert (told["to"], told["method"], told["settings"]) == ("a", "weights", {"seed": 3, "starts": 2})
    assert set(told["moved"]) == {each.group.name for each in load(tmp_path / "out").maps}
    assert record["recipe"]["sources"]["b"]["align"] == "b+alignment"
    assert "alignment.safetensors" in record["files"]
    assert str(tmp_path) not in (tmp_path / "out" / "ligate.json").read_text()


def test_a_changed_alignment_is_seen_by_verify(tmp_path):
    a = written("bert", tmp_path / "a")
    align_models(a, moved_copy(a, tmp_path / "b"), tmp_path / "out")
    file = tmp_path / "out" / "alignment.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(VerifyError, match=r"alignment\.safetensors"):
        verify(tmp_path / "out")


def test_a_model_and_itself_are_aligned_already(tmp_path):
    a = written("bert", tmp_path / "a")
    found = align_models(a, a, tmp_path / "out")
    assert found.same and found.before == pytest.approx(1)
    assert "fine-tunes of one base need no alignment" in found.notes[0]


def test_any_number_of_threads_writes_the_same_bytes(tmp_path):
    a = written("llama", tmp_path / "a")
    b = moved_copy(a, tmp_path / "b")
    one = align_models(a, b, tmp_path / "one", threads=1)
    two = align_models(a, b, tmp_path / "two", threads=2)
    assert one.digest == two.digest is not None
    files = [(tmp_path / name / "alignment.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


# Networks that no library knows


NETWORKS = """
import torch
from torch import nn

def mlp(width=16):
    layers = nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    return nn.Sequential(*layers), (torch.zeros(2, 5),)

def narrow():
    return mlp(12)

def nothing():
    return 7

def untraceable():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, 5)
        def forward(self, x):
            return self.first(x) if x.sum() > 0 else x
    return Odd(), (torch.zeros(2, 5),)
"""
GROUPS = """
groups:
  - name: first
    places: ["0.weight[0]", "0.bias[0]", {place: "2.weight[1]", role: reads}]
  - places: ["2.weight[0]", "2.bias[0]", "4.weight[1]"]
"""


@pytest.fixture
def plain(tmp_path, monkeypatch) -> Path:
    """networks.py, groups.yaml, a.safetensors, and b.pt: the same with its units in another order, in bfloat16."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "groups.yaml").write_text(GROUPS)
    draw = torch.Generator().manual_seed(0)
    one, two = torch.randperm(16, generator=draw), torch.randperm(16, generator=draw)
    a = mlp_state(16)
    b = {
        "0.weight": a["0.weight"][one],
        "0.bias": a["0.bias"][one],
        "2.weight": a["2.weight"][two][:, one],
        "2.bias": a["2.bias"][two],
        "4.weight": a["4.weight"][:, two],
        "4.bias": a["4.bias"],
    }
    save_file(a, "a.safetensors")
    torch.save(b, "b.pt")
    yield tmp_path
    sys.modules.pop("networks", None)


def mlp_state(width: int, seed: int = 0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    return {name: value.bfloat16() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("known", [{"model": "networks:mlp"}, {"groups": "groups.yaml"}])
def test_orders_bring_back_every_bit_of_a_plain_network(plain, known):
    found = align_models("a.safetensors", "b.pt", "out", **known)
    assert found.after == pytest.approx(1)
    before, after = load_file("a.safetensors"), load_file("out/out.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [line.units for line in found.groups] == [16, 16]


def test_widths_change_and_the_result_has_those_of_a(plain):
    pytest.importorskip("ot")
    save_file(mlp_state(12, seed=1), "narrow.safetensors")
    (plain / "both.py").write_text("import networks\n")
    with pytest.raises(InputError, match="in one model and"):
        align_models("a.safetensors", "narrow.safetensors", "out", groups="groups.yaml")
    found = align_models("a.safetensors", "narrow.safetensors", "out", groups="groups.yaml", method="transport")
    shapes = {name: value.shape for name, value in load_file("out/out.safetensors").items()}
    assert shapes == {name: value.shape for name, value in load_file("a.safetensors").items()}
    assert found.before is None and found.after is not None
    assert load_file("out/out.safetensors")["0.weight"].dtype == torch.bfloat16


def test_a_saved_alignment_is_used_again(plain):
    align_models("a.safetensors", "b.pt", "out", model="networks:mlp")
    tuned = {name: value * 1.5 for name, value in torch.load("b.pt").items()}
    torch.save(tuned, "tuned.pt")
    found = align_models("a.safetensors", "tuned.pt", "again", use="out")
    assert found.method == "weights" and found.before < 0.9 < 0.999 < found.after
    expected = {name: value * 1.5 for name, value in load_file("a.safetensors").items()}
    after = load_file("again/again.safetensors")
    assert all(torch.equal(after[name], expected[name]) for name in expected)


def test_units_are_matched_by_what_they_do(plain):
    import numpy as np

    np.save("inputs.npy", np.random.default_rng(0).normal(size=(200, 5)).astype("float32"))
    known = {"model": "networks:mlp", "data": "inputs.npy"}
    found = align_models("a.safetensors", "b.pt", "out", method="activations", **known)
    assert found.method == "activations" and found.after == pytest.approx(1)
    before, after = load_file("a.safetensors"), load_file("out/out.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(RecipeError, match="without `data`"):
        align_models("a.safetensors", "b.pt", "no", method="activations", model="networks:mlp")
    with pytest.raises(RecipeError, match="with `data`"):
        align_models("a.safetensors", "b.pt", "no", **known)
    options = {"method": "activations", "groups": "groups.yaml", "data": "inputs.npy"}
    with pytest.raises(InputError, match="by hand"):
        align_models("a.safetensors", "b.pt", "no", **options)


@pytest.mark.parametrize("name", ["llama", "vit"])
def test_transformers_are_matched_by_what_they_do(name, tmp_path):
    import numpy as np

    a = written(name, tmp_path / "a")
    b = moved_copy(a, tmp_path / "b")
    draw = np.random.default_rng(0)
    if name == "llama":
        np.savez(tmp_path / "inputs.npz", input_ids=draw.integers(0, 40, size=(64, 12)))
    else:
        np.savez(tmp_path / "inputs.npz", pixel_values=draw.normal(size=(64, 3, 8, 8)).astype("float32"))
    found = align_models(a, b, tmp_path / "out", method="activations", data=tmp_path / "inputs.npz")
    assert found.before < 0.5 and found.after > 0.9  # few inputs do not tell all units apart


def test_an_alignment_of_another_model_is_refused(plain):
    align_models("a.safetensors", "b.pt", "out", model="networks:mlp")
    save_file(mlp_state(12), "narrow.safetensors")
    with pytest.raises(InputError, match="another width"):
        align_models("a.safetensors", "narrow.safetensors", "no", use="out")


def test_a_folder_of_another_width_gets_the_configuration_of_a(tmp_path):
    pytest.importorskip("ot")
    a = written("bert", tmp_path / "a")
    wide = by_name("bert")
    torch.manual_seed(3)
    wide._replace(settings={**wide.settings, "intermediate_size": 40}).build(3).save_pretrained(tmp_path / "b")
    found = align_models(a, tmp_path / "b", tmp_path / "out", method="transport")
    assert found.before is None
    assert json.loads((tmp_path / "out" / "config.json").read_text())["intermediate_size"] == 24
    assert said("bert", tmp_path / "out").isfinite().all()
    assert replay(tmp_path / "out", tmp_path / "again").digest == found.digest


# In recipes


RECIPE = """
sources:
  a: a.safetensors
  b: {path: b.pt, align: %s}
  c: c.safetensors
merge: {method: linear, models: [a, b, c], parameters: {weight: {a: 0.5, b: 0.25, c: 0.25}}}
"""


def merged(text: str, out: str) -> dict[str, torch.Tensor]:
    Path(f"{out}.yaml").write_text(text)
    merge(f"{out}.yaml", out)
    return load_file(next(path for path in Path(out).glob("*.safetensors") if path.name != "alignment.safetensors"))


@pytest.fixture
def three(plain) -> Path:
    save_file(mlp_state(16, seed=5), "c.safetensors")
    return plain


@pytest.mark.parametrize("align", ["saved", "{to: a, groups: groups.yaml}"])
def test_a_recipe_aligns_before_it_merges(three, align):
    align_models("a.safetensors", "b.pt", "saved", groups="groups.yaml")
    aligned = merged(RECIPE.replace("path: b.pt, align: %s", "path: saved"), "by-hand")
    by_recipe = merged(RECIPE % align, "by-recipe")
    assert all(torch.equal(aligned[name], by_recipe[name]) for name in aligned)
    assert not torch.equal(merged(RECIPE.replace(", align: %s", ""), "not")["0.weight"], aligned["0.weight"])
    assert verify("by-recipe").hashed
    assert load(Path("by-recipe")).maps


def test_a_replay_needs_what_the_result_kept(three):
    merged(RECIPE % "{to: a, groups: groups.yaml}", "out")
    (three / "groups.yaml").unlink()
    assert replay("out", "again").digest == replay("out", "more").digest
    Path("out.log.json").unlink()
    with pytest.raises(InputError, match=r"b\+alignment"):
        replay("out", "other", sources={"a": "a.safetensors", "b": "b.pt", "c": "c.safetensors"})


def test_check_and_explain_see_the_aligned_model(three):
    Path("r.yaml").write_text(RECIPE % "{to: a, groups: groups.yaml}")
    assert any("b is aligned to a" in note for note in check("r.yaml").notes)
    (told,) = explain("r.yaml", "0.weight")
    assert [one.label for one in told.ingredients] == ["a", "b", "c"]


class Impatient(Nobody):
    """Interrupts when most of the work is done."""

    def __init__(self) -> None:
        self.left = 0.0

    def begin(self, title: str, total: int) -> None:
        self.left = 0.9 * total

    def advance(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_merge_goes_on_with_the_alignment_it_found(three, monkeypatch):
    Path("r.yaml").write_text(RECIPE % "{to: a, groups: groups.yaml}")
    whole = merge("r.yaml", "whole")
    with pytest.raises(KeyboardInterrupt):
        merge("r.yaml", "out", watch=Impatient(), threads=1)
    assert Path("out.partial/alignments/alignment.safetensors").exists()
    monkeypatch.setattr("ligate.verbs.alignments.found_between", lambda *args: pytest.fail("found a second time"))
    assert resume("out").digest == whole.digest


def test_two_models_are_aligned_to_a_third(three):
    recipe = RECIPE % "{to: a, groups: groups.yaml}"
    recipe = recipe.replace("c: c.safetensors", "c: {path: c.safetensors, align: {to: a, groups: groups.yaml}}")
    merged_ = Path("r.yaml")
    merged_.write_text(recipe)
    merge(merged_, "out")
    kept = sorted(path.name for path in Path("out").glob("alignment*"))
    assert kept == ["alignment-b.safetensors", "alignment-c.safetensors"]
    assert verify("out").hashed and replay("out", "again")


@pytest.mark.parametrize(
    ("align", "told"),
    [
        ("{}", "needs either `path` or `to`"),
        ("{path: x, to: a}", "needs either `path` or `to`"),
        ("{to: z}", "`to: z` is no source"),
        ("{to: b}", "cannot be aligned to `b`"),
        ("{to: a, method: magic, groups: groups.yaml}", "no method `magic`"),
        ("{to: a, starts: 0}", "`starts` must be at least 1"),
        ("{to: a, ways: 2}", "no key `ways`"),
        ("missing.safetensors", "no such file"),
        ("a.safetensors", "no alignment"),
        ("{to: a}", "config.json"),
    ],
)
def test_what_a_recipe_says_wrongly_is_told_with_its_line(three, align, told):
    Path("r.yaml").write_text(RECIPE % align)
    with pytest.raises((RecipeError, InputError, Problems), match=told) as caught:
        check("r.yaml")
    assert "r.yaml:4" in str(caught.value)


# Looking and checking


@pytest.mark.parametrize("name", [*FAMILIES, "llava", "whisper", "t5-gated"])
def test_random_members_of_all_groups_keep_the_function(name, tmp_path):
    found = check_groups(written(name, tmp_path / "a"))
    assert found.failed == () and len(found.groups) > 3


def test_a_group_that_is_no_symmetry_is_named(plain):
    (plain / "wrong.yaml").write_text('groups:\n  - name: half\n    places: ["0.weight[0]", "2.weight[1]"]\n')
    (plain / "config.json").write_text("{}")
    found = movable("a.safetensors", groups="wrong.yaml")
    assert found.groups[0].name == "half"
    with pytest.raises(InputError, match=r"config\.json"):
        check_groups("a.safetensors", groups="wrong.yaml")
    failed = check_groups("a.safetensors", groups="wrong.yaml", model="networks:mlp")
    assert failed.failed == ("half",)
    assert check_groups("a.safetensors", groups="groups.yaml", model="networks:mlp").failed == ()


def test_what_can_be_moved_is_shown_without_reading_weights(tmp_path):
    found = movable(written("llama", tmp_path / "a"))
    kinds = {line.kind for line in found.groups}
    assert {"permutation", "rotary"} <= kinds
    assert any("o_proj.weight[1" in place for places in found.places for place in places)
    assert "model.embed_tokens.weight" in found.fixed


# What cannot be


def config(folder: Path, **changes) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_networks_that_are_not_known_are_told_with_what_to_do(plain, monkeypatch):
    folder = written("bert", plain / "model")
    for changes, told in (
        ({"architectures": ["NoSuchModel"]}, "knows no `NoSuchModel`"),
        ({"architectures": ["NoSuchModel"], "auto_map": {"AutoModel": "x.y"}}, "code of its own"),
        ({"architectures": ["os.system"]}, "knows no"),
        ({"architectures": ["BertModel"], "hidden_size": 17}, "cannot build|cannot be traced"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            movable(config(folder, **changes))
        assert "--groups" in str(caught.value)
    with pytest.raises(InputError, match=r"no config\.json"):
        movable("a.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="transformers is needed"):
        movable(folder)


def test_weights_of_another_network_are_told(plain):
    with pytest.raises(InputError, match=r"weight, model a: has the shape \[16.*in the network it is \[12"):
        movable("a.safetensors", model="networks:narrow")


def test_models_that_do_not_fit_together_are_told(tmp_path):
    a = written("llama", tmp_path / "a")
    shallow = by_name("llama")
    settings = {**shallow.settings, "num_hidden_layers": 1}
    shallow._replace(settings=settings).build(0).save_pretrained(tmp_path / "b")
    with pytest.raises(InputError, match=r"layers\.1"):
        align_models(tmp_path / "b", a, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("networks", "no MODULE:FUNCTION"),
        ("nowhere:mlp", "cannot be imported"),
        ("networks:mpl", "no function `mpl`"),
        ("networks:nothing", "returned int"),
        ("networks:untraceable", "cannot be traced"),
    ],
)
def test_functions_that_give_no_network_are_told(plain, model, told):
    with pytest.raises((RecipeError, InputError), match=told):
        movable("a.safetensors", model=model)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("groups: []", "missing or empty"),
        ("groups: 3", "must be a list"),
        ("groups: [{name: x}]", "needs `places:`"),
        ("groups: [{places: [nonsense]}]", "is no place"),
        ("groups: [{places: ['0.wieght[0]']}]", "no tensor `0.wieght`"),
        ("groups: [{places: ['0.weight[2]']}]", "which has no place"),
        ("groups: [{places: ['0.weight[0 as 3x4, 1]']}]", "which has no place"),
        ("groups: [{places: ['0.weight[0]', '0.weight[1]']}]", "5 units, the group 16"),
        ("groups: [{places: ['0.weight[0]', '0.weight[0]']}]", "a place twice"),
        ("groups: [{places: ['0.weight[0]'], kind: magic}]", "`kind` must be one of"),
        ("groups: [{places: [{place: '0.weight[0]', role: eats}]}]", "`role` must be one of"),
        ("groups: [{places: [{place: '0.weight[0]', over: [3]}]}]", "`over`|a list"),
        ("groups: [{places: ['0.weight[0]']}, {places: ['0.weight[0]']}]", "two groups are called"),
        ("groups: [{places: ['0.weight[0]'], copies: 2}]", "2 copies"),
        ("- 3", "a mapping"),
    ],
)
def test_files_of_groups_that_are_wrong_are_told_with_their_line(plain, text, told):
    (plain / "wrong.yaml").write_text(text)
    with pytest.raises((RecipeError, Problems), match=told) as caught:
        movable("a.safetensors", groups="wrong.yaml")
    assert "wrong.yaml:1" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "magic"}, "no method"),
        ({"starts": 0}, "at least 1"),
        ({"groups": "g", "model": "m:f"}, "either"),
        ({"use": "u", "model": "m:f"}, "neither"),
    ],
)
def test_options_that_contradict_each_other_are_refused(plain, options, told):
    with pytest.raises(RecipeError, match=told):
        align_models("a.safetensors", "b.pt", "out", **options)
    assert not Path("out").exists()
