"""A CLIP of a few thousand parameters, with experts that are whole and experts that are image towers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ligate.bench.statistics import means
from ligate.bench.suite import TEST
from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import suite as own
from ligate.core.errors import LigateError

Image = pytest.importorskip("PIL.Image")
transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def clip() -> torch.nn.Module:
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 12, "max_position_embeddings": 16, "projection_dim": 8, "eos_token_id": 2}
    vision = {**SMALL, "image_size": 8, "patch_size": 4, "projection_dim": 8}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def nudged(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.vision_model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return model


@pytest.fixture
def place(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[END]", "a", "photo", "of", ".", *COLOURS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    size = {"height": 8, "width": 8}
    for label in ("base", "first", "second"):
        model = clip() if label == "base" else nudged(clip(), len(label))
        (model.vision_model if label == "second" and hasattr(model.vision_model, "save_pretrained") else model
         ).save_pretrained(tmp_path / label)  # fmt: skip
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]"
    ).save_pretrained(tmp_path / "base")
    transformers.CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path / "base")
    (tmp_path / "images").mkdir()
    lines = ["image,label"]
    for number in range(60):
        name = list(COLOURS)[number % 3]
        Image.new("RGB", (9, 9), tuple(min(value + number // 2, 255) for value in COLOURS[name])).save(
            tmp_path / "images" / f"{number}.png"
        )
        lines.append(f"images/{number}.png,{name}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    task = "{data: a.csv, split: {validation: 0.4}, prompts: ['a photo of a {}.', '{}']}"
    (tmp_path / "my.yaml").write_text(
        "kind: image-classification\nmodels:\n  pretrained: base\n  experts: {a: first, b: second}\n"
        f"tasks:\n  a: {task}\n  b: {task}\n"
    )
    return tmp_path


def test_image_towers_are_merged_and_heads_come_from_the_pretrained_text_tower(place: Path):
    world = own.prepare(own_config.read(place / "my.yaml"), place / "store", 50).world(0)

    told = means(world.ask(world.state("a"), TEST))

    whole = transformers.CLIPModel.from_pretrained(place / "first").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(place / "base")
    processor = transformers.AutoImageProcessor.from_pretrained(place / "base")
    right = 0
    for one in world.questions[TEST]["a"]:
        pixels = processor(images=[one.content.open()], return_tensors="pt")["pixel_values"]
        scores = []
        for name in sorted(COLOURS):
            vectors = []
            for prompt in (f"a photo of a {name}.", name):
                with torch.no_grad():
                    out = whole(input_ids=tokens(prompt, return_tensors="pt")["input_ids"], pixel_values=pixels)
                vectors.append(out.text_embeds[0])
            scores.append(float(out.image_embeds[0] @ torch.nn.functional.normalize(sum(vectors), dim=0)))
        right += scores.index(max(scores)) == one.answer
    assert told["a"] == pytest.approx(right / len(world.questions[TEST]["a"]))
    states = [world.state(label) for label in ("pretrained", "a", "b")]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    assert all(name.startswith("vision_model.") for name in states[0])
    assert not torch.equal(*(next(iter(state.values())) for state in states[:2]))


def test_what_does_not_fit_is_told(place: Path):
    (place / "images" / "7.png").unlink()
    with pytest.raises(LigateError) as told:
        own.prepare(own_config.read(place / "my.yaml"), place / "store", 50)
    assert "a.csv:9: there is no image 'images/7.png'" in str(told.value)


@pytest.mark.filterwarnings("ignore")
def test_images_of_a_data_set_with_names_for_its_classes(place: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(place / "home"))
    for number in range(60):
        folder = place / "set" / ("train", "test")[number % 2] / list(COLOURS)[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (place / "images" / f"{number}.png").rename(folder / f"{number}.png")
    text = (place / "my.yaml").read_text()
    task = f"dataset: {place / 'set'}, split: {{validation: train, test: test}}"
    (place / "my.yaml").write_text(text.replace("data: a.csv, split: {validation: 0.4}", task))

    world = own.prepare(own_config.read(place / "my.yaml"), place / "store", 50).world(0)

    assert world.tasks[0].classes == 3 and len(world.questions[TEST]["a"]) == 30
    for one in world.questions[TEST]["a"]:
        seen = one.content.open().getpixel((0, 0))
        assert sorted(COLOURS)[one.answer] == ("red", "green", "blue")[seen.index(max(seen))]
    assert set(means(world.ask(world.state("a"), TEST))) == {"a", "b"}


def test_an_image_that_changed_is_another_question(place: Path):
    before = own.prepare(own_config.read(place / "my.yaml"), place / "store", 50).world(0).digest
    Image.new("RGB", (9, 9), (1, 2, 3)).save(place / "images" / "7.png")
    assert own.prepare(own_config.read(place / "my.yaml"), place / "store", 50).world(0).digest != before


def test_a_projection_that_only_some_have_may_not_have_changed(place: Path):
    model = transformers.CLIPModel.from_pretrained(place / "first")
    with torch.no_grad():
        model.visual_projection.weight += 1
    model.save_pretrained(place / "first")
    with pytest.raises(LigateError, match=r"has its own `visual_projection\.weight`, and others have none"):
        own.prepare(own_config.read(place / "my.yaml"), place / "store", 50)
