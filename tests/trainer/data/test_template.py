"""Templates: equal to the golden tables, and refused where the tokenizer cannot speak them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llava_contract.templates import TemplateName
from llava_trainer.data.template import SYSTEM_TEXTS, TEMPLATES, best_template, get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import InvalidSpec, WrongTemplate
from support.golden import golden

WANT = json.loads(golden("templates.json").read_text("utf-8"))


def test_there_are_the_published_templates() -> None:
    assert list(TEMPLATES) == list(WANT)


@pytest.mark.parametrize("name", WANT)
def test_a_template_is_the_golden_one(name: str) -> None:
    got, want = get_template(name), WANT[name]
    assert got.instruction == want["INSTRUCTION"]
    assert got.system == want.get("SYSTEM", "")
    assert (got.suffix, got.suffix_is_eos) == (want.get("SUFFIX", ""), want.get("SUFFIX_AS_EOS", False))
    assert (got.separator, list(got.stop_words)) == (want.get("SEP", ""), want.get("STOP_WORDS", []))


def test_system_texts_are_the_golden_ones() -> None:
    assert dict(SYSTEM_TEXTS) == json.loads(golden("system_templates.json").read_text("utf-8"))


def test_a_spec_may_name_exactly_these() -> None:
    assert list(TEMPLATES) == list(TemplateName)


def test_braces_in_a_text_stay() -> None:
    assert get_template("vicuna").wrap("What is {input}?") == "USER: What is {input}? ASSISTANT:"


def test_a_round_is_counted_from_one() -> None:
    assert get_template("chatglm2").wrap("a", turn=2).startswith("[Round 2]")


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"promptTemplate vicunna: .*did you mean vicuna\?"):
        get_template("vicunna")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tokenizer", ["bytelevel_bos", "qwen2_nobos", "sp_llama_fast"])
def test_a_template_whose_pieces_are_there_passes(name: str, tokenizer: str) -> None:
    get_template(name).check(Tokenizer(golden(f"tokenizers/{tokenizer}")))


@pytest.fixture
def without_phi3(tmp_path: Path) -> Tokenizer:
    """A tokenizer whose vocabulary lacks <|end|>."""
    folder = Path(shutil.copytree(golden("tokenizers/bytelevel_bos"), tmp_path / "tokenizer"))
    for path in folder.iterdir():
        path.write_text(path.read_text("utf-8").replace("<|end|>", "<|other|>"), encoding="utf-8")
    return Tokenizer(folder)


def test_a_template_without_its_pieces_is_refused_and_one_that_fits_is_named(without_phi3: Tokenizer) -> None:
    with pytest.raises(WrongTemplate, match=r"phi3_chat: .* no single piece for <\|end\|>, .*such as llama3_chat"):
        get_template("phi3_chat").check(without_phi3)


def test_a_template_that_eos_ends_needs_no_piece(without_phi3: Tokenizer) -> None:
    get_template("moss_sft").check(without_phi3)


def test_a_template_that_eos_ends_needs_an_eos(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden("tokenizers/bytelevel_bos"), tmp_path / "tokenizer"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json.loads((folder / name).read_text("utf-8"))
        content.pop("eos_token", None)
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(WrongTemplate, match=r"promptTemplate vicuna: answers end with EOS, .* say eos_token"):
        get_template("vicuna").check(Tokenizer(folder))


@pytest.mark.parametrize(("tokenizer", "want"), [("bytelevel_bos", "llama3_chat"), ("qwen2_nobos", "qwen_chat")])
def test_the_best_template_ends_with_the_tokenizers_own_end(tokenizer: str, want: str) -> None:
    assert best_template(Tokenizer(golden(f"tokenizers/{tokenizer}"))).name == want


def test_internlm2_is_offered_its_own_template() -> None:
    tokenizer = Tokenizer(golden("tokenizers/internlm2_real"))
    with pytest.raises(WrongTemplate, match="such as internlm2_chat"):
        get_template("llama3_chat").check(tokenizer)
