"""A tokenizer.model gives the ids that its fast tokenizer gives, without the library that wrote it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.data.conversation import normalise
from llava_trainer.data.record import BadRow, read_records
from llava_trainer.data.sample import Dropped, Wording, tokenise
from llava_trainer.data.template import get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData, LlavaError, Unsupported
from llava_trainer.formats.huggingface.vocabulary import write_tokenizer
from support.golden import golden
from support.rows import write_rows
from support.sentencepiece_file import (
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    model_bytes,
    pieces_of,
)

SPECIAL: list[Piece] = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)]
BYTES: list[Piece] = [(f"<0x{value:02X}>", 0, BYTE) for value in range(256)]
LETTERS: list[Piece] = [(letter, -9.0, NORMAL) for letter in "\u2581abcoehu<>"]
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def folder_with(folder: Path, content: bytes, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps(NAMED | settings))
    return folder


def small(folder: Path, *extra: Piece, prefix: bool = True, squeeze: bool = False, **settings: Any) -> Tokenizer:
    pieces = [*SPECIAL, *BYTES, *LETTERS, ("ab", -1.0, NORMAL), ("bc", -2.0, NORMAL), *extra]
    return Tokenizer(folder_with(folder, model_bytes(pieces, prefix=prefix, squeeze=squeeze), **settings))


def texts(tokenizer: Tokenizer, text: str) -> list[str]:
    return [str(tokenizer._backend.id_to_token(token)) for token in tokenizer.encode(text)]


def golden_cases(tokenizer: Tokenizer, name: str, folder: Path) -> tuple[list[Any], list[Any]]:
    """Ids of every golden row and template, wanted and given; rows that are bad or dropped are left out."""
    with gzip.open(golden(f"tokenization_{name}.json.gz"), "rt", encoding="utf-8") as file:
        cases = [case for case in json.load(file)["cases"] if "input_ids" in case]
    entries = json.loads(golden("rows.json").read_text("utf-8"))
    records = read_records(write_rows(folder / "rows.json", [entry["row"] for entry in entries]))
    rows = {entry["key"]: record for entry, record in zip(entries, records, strict=True)}
    wanted, given = [], []
    for case in cases:
        row = rows[case["row"]]
        found = row if isinstance(row, BadRow) else normalise(row)
        if isinstance(found, BadRow):
            continue
        sample = tokenise(found, Wording(get_template(case["template"]), tokenizer, case["max_length"]))
        assert not isinstance(sample, Dropped)
        wanted.append(case["input_ids"])
        given.append(list(sample.input_ids))
    return wanted, given


def test_internlm2s_own_vocabulary_gives_the_golden_ids(tmp_path: Path) -> None:
    source = golden("tokenizers/internlm2_real")
    content = (source / "tokenizer.model").read_bytes()
    tokenizer = Tokenizer(folder_with(tmp_path / "llm", content, pad_token="</s>"))
    wanted, given = golden_cases(tokenizer, "internlm2_real", tmp_path)
    assert len(wanted) >= 20
    assert given == wanted
    assert (len(tokenizer), tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (92_544, 1, 2, 2)


def test_internlm2s_own_vocabulary_is_that_of_its_fast_tokenizer(tmp_path: Path) -> None:
    source = golden("tokenizers/internlm2_real")
    ours = Tokenizer(folder_with(tmp_path / "llm", (source / "tokenizer.model").read_bytes()))
    fast = Tokenizer(source)
    for text in (
        " leading",
        "def f(x):\n    return x  # 1\t",
        "图片中 😀\r\n",
        "<|im_end|>\n<|plugin|>",
        "\uff25\uff26 \x00 \u0301",
    ):
        assert ours.encode(text) == fast.encode(text)
        assert ours.decode(ours.encode(text)) == text


def test_a_llama_vocabulary_gives_the_golden_ids(tmp_path: Path) -> None:
    source = golden("tokenizers/sp_llama_fast")
    folder = Path(shutil.copytree(source, tmp_path / "llm"))
    pieces = pieces_of(source / "tokenizer.json")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(model_bytes(pieces))
    wanted, given = golden_cases(Tokenizer(folder), "sp_llama_fast", tmp_path)
    assert len(wanted) >= 300
    assert given == wanted


def test_the_better_piece_is_made_first(tmp_path: Path) -> None:
    assert texts(small(tmp_path, prefix=False), "abc") == ["ab", "c"]


@pytest.mark.parametrize(
    ("settings", "want"),
    [({}, ["\u2581", "a", "</s>", "\u2581", "b"]), ({"legacy": False}, ["\u2581", "a", "</s>", "b"])],
    ids=["legacy", "not legacy"],
)
def test_a_prefix_stands_where_transformers_puts_it(settings: dict[str, Any], want: list[str], tmp_path: Path) -> None:
    assert texts(small(tmp_path, **settings), "a</s>b") == want


def test_a_model_without_prefix_gets_none(tmp_path: Path) -> None:
    assert texts(small(tmp_path, prefix=False), "a</s>b") == ["a", "</s>", "b"]


def test_pieces_of_the_user_are_found_whole(tmp_path: Path) -> None:
    assert texts(small(tmp_path, ("<eoh>", 0, USER_DEFINED), prefix=False), "a<eoh>b") == ["a", "<eoh>", "b"]


def test_what_is_no_piece_falls_back_to_bytes(tmp_path: Path) -> None:
    tokenizer = small(tmp_path, prefix=False)
    assert texts(tokenizer, "é") == ["<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("é a")) == "é a"


def test_spaces_are_squeezed_where_the_model_says_so(tmp_path: Path) -> None:
    assert texts(small(tmp_path, prefix=False, squeeze=True), " a  b ") == ["a", "\u2581", "b"]


def test_a_piece_that_the_configuration_renames_answers_to_its_new_name(tmp_path: Path) -> None:
    free: Piece = ("[FREE_1]", 0, USER_DEFINED)
    place = len([*SPECIAL, *BYTES, *LETTERS]) + 2
    tokenizer = small(tmp_path, free, added_tokens_decoder={place: {"content": "<eoa>", "special": True}})
    assert tokenizer.token_id("<eoa>") == place
    assert tokenizer.is_piece("<eoa>")
    assert tokenizer.token_id("[FREE_1]") is None


def test_tokenizer_json_comes_first(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden("tokenizers/sp_llama_fast"), tmp_path / "llm"))
    (folder / "tokenizer.model").write_bytes(b"never read")
    assert Tokenizer(folder).digest == Tokenizer(golden("tokenizers/sp_llama_fast")).digest


def test_the_digest_follows_the_model(tmp_path: Path) -> None:
    assert small(tmp_path / "a").digest != small(tmp_path / "b", prefix=False).digest


def test_an_export_writes_it_as_tokenizer_json(tmp_path: Path) -> None:
    ours = small(tmp_path / "llm", ("<eoh>", 0, USER_DEFINED))
    (tmp_path / "export").mkdir()
    write_tokenizer(tmp_path / "export", tmp_path / "llm", num_rows=280, stop_words=(), chat_template="")
    again = Tokenizer(tmp_path / "export")
    assert again.encode("abc<eoh> é</s>") == ours.encode("abc<eoh> é</s>")
    assert again.token_id("<image>") == len(ours)


BROKEN: list[tuple[bytes, type[LlavaError], str]] = [
    (b"<html>404", BadData, "is no SentencePiece model"),
    (model_bytes(SPECIAL)[:-3], BadData, "is no SentencePiece model"),
    (b"", BadData, "holds no pieces"),
    (model_bytes(SPECIAL, kind=UNIGRAM), Unsupported, "is no BPE model; save the tokenizer as tokenizer.json"),
]


@pytest.mark.parametrize(("content", "error", "words"), BROKEN, ids=["web page", "cut short", "empty", "unigram"])
def test_a_file_that_cannot_be_used_is_named(
    content: bytes, error: type[LlavaError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=rf"tokenizer\.model: {words}"):
        Tokenizer(folder_with(tmp_path / "llm", content))
