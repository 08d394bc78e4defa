from __future__ import annotations

from .token_ids import id_edits, size_edits

OWN = {0: "<s>", 1: "</s>", 2: "<pad>", 3: "<img>"}
TOKENS = {"</s>": 10, "<s>": 11, "<img>": 12}


def test_every_count_of_the_old_number_of_rows_is_set_wherever_it_stands():
    config = {"vocab_size": 8, "text_config": {"vocab_size": 8, "hidden_size": 8}, "vision_config": {"vocab_size": 5}}
    assert size_edits(config, 8, 9) == {"vocab_size": 9, "text_config.vocab_size": 9}


def test_a_config_that_counts_otherwise_gets_the_right_number():
    assert size_edits({"vocab_size": 7}, 8, 9) == {"vocab_size": 9}
    assert size_edits({"vocab_size": 8}, 8, 8) == {}


def test_numbers_of_special_tokens_follow_the_token():
    config = {"bos_token_id": 0, "eos_token_id": [1, 0], "text_config": {"image_token_id": 3}, "hidden_size": 2}
    edits = id_edits(config, OWN, TOKENS, {})
    assert edits.values == {"bos_token_id": 11, "eos_token_id": [10, 11], "text_config.image_token_id": 12}
    assert edits.lost == ()


def test_what_the_model_of_the_tokenizer_says_goes_first():
    edits = id_edits({"bos_token_id": 0, "eos_token_id": 1}, OWN, TOKENS, {"eos_token_id": 12, "pad_token_id": 3})
    assert edits.values == {"bos_token_id": 11, "eos_token_id": 12}


def test_a_token_that_the_result_lacks_is_told_and_left_out():
    edits = id_edits({"pad_token_id": 2, "eos_token_id": [1, 2]}, OWN, TOKENS, {})
    assert edits.values == {"pad_token_id": None, "eos_token_id": [10]}
    assert edits.lost == ("pad_token_id",)


def test_what_is_no_token_stays():
    assert id_edits({"pad_token_id": None, "image_token_index": -200, "bos_token_id": 99}, OWN, TOKENS, {}).values == {}
