from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ligate.core.errors import InputError, StorageError
from ligate.io.sidecars import copy_sidecars, find_sidecars, place_sidecars


def words(text: str) -> list[str]:
    return text.split()


TRAVELS = words("""
    config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json
    added_tokens.json vocab.json vocab.txt merges.txt tokenizer.model tokenizer.model.v3 spiece.model
    sentencepiece.bpe.model qwen.tiktoken source.spm target_vocab.json dict.txt bpe.codes chat_template.jinja
    chat_template.json preprocessor_config.json processor_config.json video_preprocessor_config.json
    modeling_mine.py tokenization_mine.py config_sentence_transformers.json sentence_bert_config.json
    normalizer.json LICENSE LICENSE.txt NOTICE USE_POLICY.md chat_templates/tool_use.jinja
    additional_chat_templates/rag.jinja
""")
STAYS = words("""
    model.safetensors model-00001-of-00002.safetensors model.safetensors.index.json pytorch_model.bin
    pytorch_model.bin.index.json model.gguf tf_model.h5 optimizer.pt scheduler.pt training_args.bin
    trainer_state.json all_results.json adapter_config.json ligate.json README.md .gitattributes .env .config.json
    picture.png original/params.json onnx/model.onnx runs/events.txt
""")
TOKENIZER = words("""
    tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json vocab.txt merges.txt
    tokenizer.model tokenizer.model.v3 spiece.model sentencepiece.bpe.model qwen.tiktoken source.spm
    target_vocab.json dict.txt bpe.codes chat_template.jinja chat_template.json tokenization_mine.py
    normalizer.json chat_templates/tool_use.jinja additional_chat_templates/rag.jinja
""")


def fill(folder: Path, names: list[str], word: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"from": word, "file": name}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def donor(tmp_path) -> Path:
    return fill(tmp_path / "donor", [*TRAVELS, *STAYS], "donor")


def test_what_loaders_need_travels_and_weights_and_traces_stay(donor, tmp_path):
    copied = copy_sidecars(donor, tmp_path / "out")
    assert copied == sorted(TRAVELS)
    assert contents(tmp_path / "out") == {name: (donor / name).read_bytes() for name in TRAVELS}


def test_the_tokenizer_comes_whole_from_where_it_is_asked_for(donor, tmp_path):
    other = fill(tmp_path / "other", ["config.json", "tokenizer.json", "merges.txt", "generation_config.json"], "other")
    copy_sidecars(donor, tmp_path / "out", tokenizer=other)
    result = contents(tmp_path / "out")
    assert set(result) == (set(TRAVELS) - set(TOKENIZER)) | {"tokenizer.json", "merges.txt"}
    from_other = {name for name, text in result.items() if b'"other"' in text}
    assert from_other == {"tokenizer.json", "merges.txt"}


def test_the_donors_own_tokenizer_may_be_asked_for(donor, tmp_path):
    assert find_sidecars(donor, tokenizer=donor / ".." / "donor") == find_sidecars(donor)


def test_a_folder_without_tokenizer_cannot_give_one(donor, tmp_path):
    with pytest.raises(InputError, match=r"other: holds no tokenizer"):
        find_sidecars(donor, tokenizer=fill(tmp_path / "other", ["config.json"], "other"))


def test_folders_that_the_model_lists_travel_without_their_weights(tmp_path):
    donor = fill(
        tmp_path / "donor",
        ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "3_Other/config.json"],
        "x",
    )
    (donor / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]))
    assert list(find_sidecars(donor)) == ["1_Pooling/config.json", "2_Dense/config.json", "modules.json"]


def test_a_new_dtype_is_told_by_the_components_that_tell_one(tmp_path):
    told = {
        "text_encoder": {"torch_dtype": "float32", "num_hidden_layers": 2},
        "unet": {"in_channels": 4},
        "vae": {"inner": {"dtype": "float16"}},
    }
    for name, config in told.items():
        fill(tmp_path / name, ["config.json"], "")
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text(json.dumps({name: ["library", "Class"] for name in told}))
    copy_sidecars(tmp_path, tmp_path / "out", config_edits={"torch_dtype": "bfloat16", "num_hidden_layers": 3})
    found = {name: json.loads((tmp_path / "out" / name / "config.json").read_text()) for name in told}
    assert found["text_encoder"] == {"torch_dtype": "bfloat16", "num_hidden_layers": 2}
    assert found["unet"] == told["unet"]
    assert found["vae"] == {"inner": {"dtype": "bfloat16"}}


def test_a_config_without_edits_is_copied_to_the_byte(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"a":1e-05,\r\n "b": 1}')
    copy_sidecars(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == b'{"a":1e-05,\r\n "b": 1}'


def test_config_edits_are_made_and_everything_else_is_kept(tmp_path):
    config = {"architectures": ["X"], "num_hidden_layers": 2, "torch_dtype": "float32", "eps": 1e-05, "name": "ü"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    copy_sidecars(tmp_path, tmp_path / "out", config_edits={"num_hidden_layers": 3, "torch_dtype": "bfloat16"})
    text = (tmp_path / "out" / "config.json").read_text()
    assert json.loads(text) == {**config, "num_hidden_layers": 3, "torch_dtype": "bfloat16"}
    assert text.startswith('{\n  "architectures"') and text.endswith("}\n") and "ü" in text
    assert json.loads((tmp_path / "config.json").read_text()) == config


def test_a_result_does_not_claim_to_be_quantised(tmp_path):
    config = {
        "a": 1,
        "quantization_config": {"quant_method": "fp8"},
        "text_config": {"quantization_config": {}, "b": 2},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    copy_sidecars(tmp_path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"a": 1, "text_config": {"b": 2}}
    assert json.loads((tmp_path / "config.json").read_text()) == config


def test_a_config_that_cannot_be_changed_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match=rf"file {tmp_path / 'config.json'}: has no table under `a`"):
        find_sidecars(tmp_path, config_edits={"a.b": 0})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=str(tmp_path / "config.json")):
        find_sidecars(tmp_path, config_edits={"a": 0})


def test_what_was_found_can_be_changed_before_it_is_placed(donor, tmp_path):
    found = {**find_sidecars(donor), "chat_template.jinja": b"{{ messages }}"}
    assert place_sidecars(found, tmp_path / "out") == sorted(TRAVELS)
    assert (tmp_path / "out" / "chat_template.jinja").read_bytes() == b"{{ messages }}"
    assert (donor / "chat_template.jinja").read_bytes() != b"{{ messages }}"


def test_a_folder_without_config_gives_none(tmp_path):
    (tmp_path / "donor").mkdir()
    assert copy_sidecars(tmp_path / "donor", tmp_path / "out", config_edits={"torch_dtype": "bfloat16"}) == []


def test_a_link_cannot_smuggle_a_file_into_the_result(tmp_path):
    donor = fill(tmp_path / "donor", ["config.json"], "donor")
    (tmp_path / "secret").write_text("key")
    (donor / "tokenizer.json").symlink_to("../secret")
    with pytest.raises(InputError, match=r"tokenizer\.json: is a link that leaves the model's folder"):
        copy_sidecars(donor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_links_of_the_hubs_cache_are_followed(tmp_path):
    model = tmp_path / "models--org--name"
    fill(model / "blobs", ["abc"], "blob")
    (model / "snapshots" / "rev").mkdir(parents=True)
    (model / "snapshots" / "rev" / "config.json").symlink_to("../../blobs/abc")
    (tmp_path / "link").symlink_to(model / "snapshots" / "rev")
    for donor in (model / "snapshots" / "rev", tmp_path / "link"):
        copy_sidecars(donor, tmp_path / "out")
        assert (tmp_path / "out" / "config.json").read_bytes() == (model / "blobs" / "abc").read_bytes()
        assert not (tmp_path / "out" / "config.json").is_symlink()


def test_a_pipe_is_refused_before_it_can_block(tmp_path):
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match=r"tokenizer\.json: this is a pipe"):
        find_sidecars(tmp_path)


def test_a_place_that_cannot_be_written_is_a_storage_error(donor, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        copy_sidecars(donor, tmp_path / "file")


def test_what_transformers_saves_travels_whole(tmp_path):
    from transformers import BertConfig, GenerationConfig

    BertConfig().save_pretrained(tmp_path / "donor")
    GenerationConfig().save_pretrained(tmp_path / "donor")
    copy_sidecars(
        tmp_path / "donor", tmp_path / "out", config_edits={"num_hidden_layers": 3, "torch_dtype": "bfloat16"}
    )
    config = BertConfig.from_pretrained(tmp_path / "out")
    assert config.num_hidden_layers == 3 and str(config.dtype) == "torch.bfloat16"
    assert set(contents(tmp_path / "out")) == {"config.json", "generation_config.json"}
