from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch

from ligate.core.errors import LigateError, Problems, RecipeError
from ligate.core.method import Card, method
from ligate.core.params import PerModel, Range
from ligate.core.suggest import nearest
from ligate.engine.plan import Operand, Plan
from ligate.io.memory import MemorySource

from .parse import parse_text
from .resolve import donor, resolve
from .review import review


def _no_zero_sum(params: Mapping[str, Any]) -> None:
    if sum(params["weight"]) == 0:
        raise RecipeError("the weights sum to zero", hint="change a weight")


@method(title="Plain", source="practice", base="unused", check=_no_zero_sum)
def plain(base: Any, tuned: Any, *, weight: Annotated[float, PerModel()] = 1.0) -> None:
    """Average."""


@method(title="Vote", source="practice", base="required")
def vote(
    base: Any,
    tuned: Any,
    *,
    density: Annotated[float, Range(0, 1), PerModel()] = 0.2,
    scale: Annotated[float, Range(0, 2)] = 1.0,
    rounds: int = 1,
    strict: bool = True,
) -> None:
    """Vote."""


@method(title="Pair", source="practice", base="required", models=(1, 1))
def pair(base: Any, tuned: Any, *, t: Annotated[float, Range(0, 1)]) -> None:
    """Two models."""


CARDS: dict[str, Card] = {function.__name__: function.card for function in (plain, vote, pair)}  # type: ignore[attr-defined]


def lookup(name: str) -> Card:
    if name not in CARDS:
        raise RecipeError(f"no method `{name}`", hint=nearest(name, CARDS))
    return CARDS[name]


HEAD = "sources: {base: ./base, a: ./a, b: ./b}\n"
VOTE = HEAD + "merge:\n  method: vote\n  base: base\n  models: [a, b]\n"


def model(layers: int = 4, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    state = {"model.embed_tokens.weight": torch.zeros(8, 2)}
    for number in range(layers):
        state[f"model.layers.{number}.mlp.weight"] = torch.zeros(2, 3)
        state[f"model.layers.{number}.attn.weight"] = torch.zeros(2, 2)
    return state | {"lm_head.weight": torch.zeros(8, 2)} | {name.replace("__", "."): t for name, t in more.items()}


def planned(text: str, **states: Mapping[str, torch.Tensor]) -> Plan:
    recipe = parse_text(text, "r.yaml")
    sources = {label: MemorySource(label, states.get(label, model())) for label in recipe.sources}
    return resolve(recipe, recipe.steps[-1], sources, lookup)


def told(text: str, **states: Mapping[str, torch.Tensor]) -> str:
    with pytest.raises(LigateError) as error:
        planned(text, **states)
    return str(error.value)


def params(plan: Plan, name: str) -> Mapping[str, Any]:
    return next(out.params for out in plan.outs if out.name == name)


def test_every_tensor_is_planned_in_stored_order_with_every_default():
    plan = planned(VOTE)
    assert plan.sources == ("base", "a", "b")
    assert [out.name for out in plan.outs] == list(model())
    first = plan.outs[0]
    assert first.base == Operand(0, "model.embed_tokens.weight")
    assert first.tuned == (Operand(1, "model.embed_tokens.weight"), Operand(2, "model.embed_tokens.weight"))
    assert first.params == {"density": (0.2, 0.2), "scale": 1.0, "rounds": 1, "strict": True}


def test_a_gradient_goes_linearly_from_the_first_layer_to_the_last():
    plan = planned(VOTE + "  parameters: {scale: [0, 1, 0.5], density: {b: [0, 0.6]}}\n")
    found = [params(plan, f"model.layers.{n}.mlp.weight") for n in range(4)]
    assert [p["scale"] for p in found] == pytest.approx([0, 2 / 3, 5 / 6, 0.5])
    assert [p["density"] for p in found] == [(0.2, pytest.approx(x)) for x in (0, 0.2, 0.4, 0.6)]
    assert params(plan, "lm_head.weight")["scale"] == 0


def test_a_gradient_of_whole_numbers_steps():
    plan = planned(VOTE + "  parameters: {rounds: [1, 5], strict: [true, false]}\n")
    found = [params(plan, f"model.layers.{n}.mlp.weight") for n in range(4)]
    assert [p["rounds"] for p in found] == [1, 1, 1, 5]
    assert [p["strict"] for p in found] == [True, True, True, False]


def test_layers_count_from_the_first_number_present():
    names = ("h.2.w", "h.4.w", "h.6.w")
    state = {name: torch.zeros(1) for name in names}
    plan = planned(VOTE + "  parameters: {scale: [0, 1]}\n", base=state, a=state, b=state)
    assert [out.params["scale"] for out in plan.outs] == [0, 0.5, 1]


def test_each_stack_has_its_own_depth():
    state = {f"model.{stack}.layers.{n}.w": torch.zeros(1) for stack, n in (("encoder", 0), ("encoder", 1))}
    state |= {f"model.decoder.layers.{n}.w": torch.zeros(1) for n in range(3)}
    plan = planned(VOTE + "  parameters: {scale: [0, 1]}\n", base=state, a=state, b=state)
    assert [out.params["scale"] for out in plan.outs] == [0, 1, 0, 0.5, 1]


def test_the_first_setting_that_applies_wins():
    text = VOTE + (
        "  parameters:\n    scale:\n"
        '      - {match: "*.mlp.*", value: 0.5}\n'
        '      - {match: "model.layers.0.*", value: 0.25}\n'
        "      - 2\n"
        "    density:\n"
        '      - {match: "*.mlp.*", value: {a: 0.9}}\n'
        "      - 0.1\n"
    )
    plan = planned(text)
    assert params(plan, "model.layers.0.mlp.weight") | {"density": 0} == params(plan, "model.layers.3.mlp.weight") | {
        "density": 0
    }
    assert params(plan, "model.layers.0.mlp.weight")["scale"] == 0.5
    assert params(plan, "model.layers.0.attn.weight")["scale"] == 0.25
    assert params(plan, "model.layers.1.attn.weight")["scale"] == 2
    assert params(plan, "model.layers.1.mlp.weight")["density"] == (0.9, 0.1)
    assert params(plan, "lm_head.weight")["density"] == (0.1, 0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (VOTE.replace("vote", "vot"), ["r.yaml:3: no method `vot`", "did you mean 'vote'?"]),
        (VOTE.replace("  base: base\n", "").replace("base: ./base, ", ""), ["`recipe/vote` needs a `base:`"]),
        (VOTE.replace("vote", "plain"), ["`recipe/plain` uses no `base:`", "list `base` under `models:`"]),
        (VOTE.replace("vote", "pair"), ["`recipe/pair` merges 1 model besides the base, not 2", "needs `t`"]),
        (VOTE + "  parameters: {densty: 1}\n", ["r.yaml:6: `recipe/vote` has no parameter `densty`", "'density'?"]),
        (VOTE + "  parameters: {density: 7}\n", ["r.yaml:6: `density` must be in [0, 1]. Got 7 instead."]),
        (
            VOTE + "  parameters: {density: {a: [0.1, -1]}}\n",
            ["r.yaml:6, model a: `density` must be in [0, 1]. Got -1"],
        ),
        (VOTE + "  parameters: {scale: high}\n", ["`scale` must be a number. Got 'high'"]),
        (VOTE + "  parameters: {scale: .nan}\n", ["`scale` must be finite"]),
        (VOTE + "  parameters: {rounds: 1.5}\n", ["`rounds` must be a whole number"]),
        (VOTE + "  parameters: {strict: 1}\n", ["`strict` must be true or false"]),
        (VOTE + "  parameters: {scale: {a: 1}}\n", ["`scale` of `recipe/vote` is one value for all models"]),
        (VOTE + "  parameters: {density: {base: 1}}\n", ["`density` is given for `base`, which is the base"]),
        (
            VOTE + '  parameters: {scale: [{match: "*.mpl.*", value: 1}, 1]}\n',
            ["`scale`: no merged tensor matches `*.mpl.*`", "did you mean 'mlp'?"],
        ),
        (
            VOTE + '  parameters: {scale: [{match: "lm_head.*", value: [0, 1]}, 1]}\n',
            ["`scale` is spread over layers, but speaks of no tensor in a layer"],
        ),
        (VOTE + 'output: {drop: ["v_haed.*"]}\n', ["r.yaml:6: `drop`: no tensor matches `v_haed.*`"]),
        (VOTE + 'output: {drop: ["*"]}\n', ["no tensor is left to merge"]),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(text, words):
    message = told(text)
    assert all(word in message for word in words), message


def test_weights_that_do_not_go_together_are_told_once_with_a_tensor():
    merge = "merge:\n  method: plain\n  models: [a, b]\n  parameters:\n    weight: {a: 1, b: -1}\n"
    text = HEAD.replace("base: ./base, ", "") + merge
    assert told(text) == "r.yaml:6, tensor model.embed_tokens.weight: the weights sum to zero\n  -> change a weight"


def test_a_parameter_without_value_for_the_rest_is_told():
    text = "sources: {base: ./base, a: ./a}\nmerge:\n  method: pair\n  base: base\n  models: [a]\n  parameters:\n"
    message = told(text + '    t: [{match: "*.mlp.*", value: 0.5}]\n')
    assert "tensor model.embed_tokens.weight: `t` is not given" in message


def test_all_problems_are_told_at_once():
    recipe_and_headers = VOTE + "  parameters: {density: 7, scael: 1}\n"
    with pytest.raises(Problems) as error:
        planned(recipe_and_headers, a=model(extra__w=torch.zeros(1)), b=model(layers=3))
    assert len(error.value.found) == 4


def test_missing_tensors_are_counted_and_three_are_named():
    message = told(VOTE, b=model(layers=2))
    assert message.startswith("model b: lacks 4 tensors that `base` and `a` have: model.layers.2.mlp.weight, ")
    assert " and 1 more" in message


def test_extra_tensors_are_refused_until_they_are_dropped():
    extra = model(v_head__weight=torch.zeros(2), v_head__bias=torch.zeros(1))
    message = told(VOTE, a=extra)
    assert "model a, memory: `a` has 2 tensors that `base` and `b` lack: v_head.weight, v_head.bias" in message
    plan = planned(VOTE + 'output: {drop: ["v_head.*"]}\n', a=extra)
    assert plan.dropped == (Operand(1, "v_head.weight"), Operand(1, "v_head.bias"))
    assert [out.name for out in plan.outs] == list(model())


def test_a_tied_head_gets_the_alias_that_mends_it():
    tied = model()
    del tied["lm_head.weight"]
    message = told(VOTE, b=tied)
    assert "give that source `alias: {lm_head.weight: model.embed_tokens.weight}`" in message


def test_a_prefix_is_named_once_with_the_remedy():
    prefixed = {f"module.{name}": tensor for name, tensor in model().items()}
    assert told(VOTE, b=prefixed) == (
        "model b: its tensor names only differ from those of the other models by a prefix\n"
        '  -> give the source `b` `strip_prefix: "module."`, or `--strip-prefix b=module.`'
    )


def test_another_vocabulary_gets_its_own_hint():
    longer = {name: torch.zeros(9, 2) for name in ("lm_head.weight", "model.embed_tokens.weight")}
    message = told(VOTE, b=model() | longer)
    names = "model.embed_tokens.weight, lm_head.weight"
    assert f"model b, memory: {names}: the vocabularies differ: 9 rows here, 8 in `base`" in message


def test_another_width_gets_no_hint_about_vocabularies():
    message = told(VOTE, b=model() | {"lm_head.weight": torch.zeros(8, 3)})
    assert "lm_head.weight: shape [8, 3] here, [8, 2] in `base`" in message
    assert "vocabular" not in message


def test_integers_are_copied_and_must_have_one_dtype():
    ids = {"position_ids": torch.arange(3)}
    plan = planned(VOTE + "output: {dtype: bf16}\n", base=model() | ids, a=model() | ids, b=model() | ids)
    out = plan.outs[-1]
    assert (out.method, out.dtype, out.params, out.base) == (None, "I64", {}, Operand(0, "position_ids"))
    message = told(VOTE, base=model() | ids, a=model() | ids, b=model() | {"position_ids": torch.zeros(3)})
    assert "position_ids: dtype F32 here, I64 in `base`" in message


def test_floats_of_eight_bits_are_not_averaged():
    eight = model() | {"lm_head.weight": torch.zeros(8, 2).to(torch.float8_e4m3fn)}
    message = told(VOTE, a=eight)
    assert "lm_head.weight: F8_E4M3 numbers without their scales cannot be merged" in message


def test_dtypes_follow_the_base_tensor_by_tensor_unless_asked_otherwise():
    mixed = {name: t.bfloat16() if "mlp" in name else t for name, t in model().items()}
    assert {out.name: out.dtype for out in planned(VOTE, base=mixed).outs} == {
        name: "BF16" if "mlp" in name else "F32" for name in mixed
    }
    assert {out.dtype for out in planned(VOTE + "output: {dtype: fp16}\n", base=mixed).outs} == {"F16"}


def test_a_first_step_is_not_rounded_and_the_last_one_is_stored_as_its_origin():
    text = HEAD.replace("base: ./base, ", "") + (
        "steps:\n  - {name: ab, method: plain, models: [a, b]}\n  - {method: plain, models: [ab, b]}\n"
    )
    recipe = parse_text(text, "r.yaml")
    half = {name: tensor.bfloat16() for name, tensor in model().items()}
    sources = {label: MemorySource(label, half) for label in ("a", "b")}
    first = resolve(recipe, recipe.steps[0], sources, lookup)
    assert {out.dtype for out in first.outs} == {"F32"}
    sources["ab"] = MemorySource("ab", model())
    last = resolve(recipe, recipe.steps[1], sources, lookup)
    assert {out.dtype for out in last.outs} == {"BF16"}
    assert donor(recipe, recipe.steps[1]) == "a"


def test_a_recipe_can_be_reviewed_before_its_sources_are_opened():
    recipe = parse_text(VOTE + "  parameters: {density: 7}\n", "r.yaml")
    assert [str(error) for error in review(recipe, lookup)] == ["r.yaml:6: `density` must be in [0, 1]. Got 7 instead."]


class Paper:
    """A source of which only the headers exist."""

    def __init__(self, label: str, headers: Mapping[str, Any]) -> None:
        self.label, self._headers, self.folder = label, headers, None

    def headers(self) -> Mapping[str, Any]:
        return self._headers

    def metadata(self) -> Mapping[str, str]:
        return {}

    def files(self) -> Sequence[Path]:
        return ()

    def place(self, name: str) -> str:
        return "file"


def test_twenty_thousand_tensors_resolve_in_two_seconds():
    from ligate.core.tensors import Header

    names = [f"model.layers.{n // 400}.mlp.experts.{n % 400}.w{n % 3}.weight" for n in range(20_000)]
    recipe = parse_text(
        VOTE + '  parameters: {scale: [{match: "*.w1.*", value: [0, 1]}, {match: "*.w2.*", value: 1}, 0.5]}\n'
    )
    sources: Any = {label: Paper(label, {name: Header("BF16", (4, 4)) for name in names}) for label in recipe.sources}
    started = time.process_time()
    assert len(resolve(recipe, recipe.steps[0], sources, lookup).outs) == 20_000
    assert time.process_time() - started < 2


def test_twenty_thousand_problems_are_told_in_two_seconds():
    from ligate.core.tensors import Header

    recipe = parse_text(VOTE)
    sources: Any = {
        label: Paper(label, {f"{label if label == 'b' else 'x'}.{n}": Header("F32", (n,)) for n in range(20_000)})
        for label in recipe.sources
    }
    started = time.process_time()
    with pytest.raises(Problems) as error:
        resolve(recipe, recipe.steps[0], sources, lookup)
    assert len(str(error.value)) < 1000
    assert time.process_time() - started < 2
