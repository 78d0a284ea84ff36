"""The tokenizer without transformers: the same ids, from the folder as it was saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData, MissingInput
from support.golden import golden

SPECIAL = [
    ("sp_llama_fast", 1, 2, 0, 924),
    ("bytelevel_bos", 1000, 1001, 1002, 1026),
    ("qwen2_nobos", None, 1000, 1001, 1024),
    ("internlm2_real", 1, 2, 2, 92544),
]


@pytest.mark.parametrize(("name", "bos", "eos", "pad", "size"), SPECIAL)
def test_special_ids_are_the_golden_ones(name: str, bos: int | None, eos: int, pad: int, size: int) -> None:
    tokenizer = Tokenizer(golden(f"tokenizers/{name}"))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, len(tokenizer)) == (bos, eos, pad, size)


@pytest.mark.parametrize("text", [" leading", "<s>x</s>", "图片中 😀\r\n", "<|im_end|>\n", ""])
@pytest.mark.parametrize("name", ["sp_llama_fast", "bytelevel_bos", "qwen2_nobos"])
def test_ids_equal_those_of_transformers(name: str, text: str) -> None:
    fast = pytest.importorskip("transformers").PreTrainedTokenizerFast.from_pretrained(golden(f"tokenizers/{name}"))
    assert Tokenizer(golden(f"tokenizers/{name}")).encode(text) == fast.encode(text, add_special_tokens=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden("tokenizers/bytelevel_bos"), tmp_path / "tokenizer"))


def test_a_token_that_only_the_configuration_lists_is_added(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"]["1026"] = {"content": "<image>", "special": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer(folder).encode("<image>") == [1026]


def test_truncation_saved_in_the_file_is_ignored(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    value["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    assert len(Tokenizer(folder).encode("a b c d e f g")) > 2


def test_the_texts_of_ids_join_to_the_text() -> None:
    tokenizer = Tokenizer(golden("tokenizers/bytelevel_bos"))
    text = "A dog 图片 😀."
    assert "".join(tokenizer.texts(tokenizer.encode(text))) == text


def test_without_tokenizer_json_there_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"no tokenizer\.json"):
        Tokenizer(tmp_path)


def test_a_damaged_file_is_bad_data(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadData, match="cannot be read"):
        Tokenizer(folder)


def test_the_digest_follows_the_files(folder: Path) -> None:
    before = Tokenizer(folder).digest
    assert before == Tokenizer(golden("tokenizers/bytelevel_bos")).digest
    (folder / "special_tokens_map.json").write_text("{}")
    assert Tokenizer(folder).digest != before
