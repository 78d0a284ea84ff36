"""The shipped towers: small, loadable, with structure that their shapes alone would not give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from support.tree import ROOT

TOWERS = ROOT / "examples" / "tiny" / "towers"
TEXTS = [
    "USER: \nWhat colour is it?\nA. red\nB. blue ASSISTANT:",
    "Zoë says 你好, ok  \n x",
    "{'a': 1}\t~ 😀",
    " lead and trail ",
]


def test_towers_take_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in TOWERS.rglob("*") if path.is_file()) <= 12_000_000


def test_processor_has_clips_settings_at_the_towers_size() -> None:
    settings = json.loads((TOWERS / "clip/preprocessor_config.json").read_text())
    side = json.loads((TOWERS / "clip/config.json").read_text())["image_size"]
    assert (settings["size"], settings["crop_size"]) == ({"shortest_edge": side}, {"height": side, "width": side})
    assert (settings["resample"], settings["do_center_crop"], settings["do_normalize"]) == (3, True, True)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_round_trips(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(TOWERS / "llama/tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


@pytest.mark.parametrize("text", TEXTS)
def test_transformers_reads_the_same_ids(text: str) -> None:
    from transformers import PreTrainedTokenizerFast

    ids = Tokenizer.from_file(str(TOWERS / "llama/tokenizer.json")).encode(text, add_special_tokens=False).ids
    fast = PreTrainedTokenizerFast.from_pretrained(TOWERS / "llama")
    assert fast.encode(text, add_special_tokens=False) == ids


def test_special_pieces_are_named_and_are_one_piece_each() -> None:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast.from_pretrained(TOWERS / "llama")
    pieces = (fast.pad_token_id, fast.unk_token_id, fast.bos_token_id, fast.eos_token_id)
    config = json.loads((TOWERS / "llama/config.json").read_text())
    assert pieces == (0, 1, 2, 3)
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]) == (0, 2, 3)
    assert config["vocab_size"] == len(fast)


def test_script_makes_the_shipped_tokenizer() -> None:
    import make_towers

    shipped = (TOWERS / "llama/tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(make_towers.make_tokenizer().to_str()) == json.loads(shipped)


def test_bringing_streams_together_changes_no_logit() -> None:
    import make_towers
    import torch
    from transformers import CLIPVisionModel, LlamaForCausalLM

    tower = CLIPVisionModel.from_pretrained(TOWERS / "clip", dtype=torch.float32)
    llama = LlamaForCausalLM.from_pretrained(TOWERS / "llama", dtype=torch.float32)
    ids, pixels = torch.arange(40)[None], torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = llama(ids).logits, tower(pixels).pooler_output
        make_towers.bring_together(tower, llama)
        after = llama(ids).logits, tower(pixels).pooler_output
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("name", "folder"), [("CLIPVisionModel", "clip"), ("LlamaForCausalLM", "llama")])
def test_weights_load_without_missing_or_unexpected_keys(name: str, folder: str) -> None:
    import transformers

    _, info = getattr(transformers, name).from_pretrained(TOWERS / folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_llama_answers_choices_by_letter() -> None:
    """What stage 2 builds on: a description in words where the picture will stand, four options, a letter."""
    right, asked = letters_right(Path(TOWERS), 25)
    assert right >= 0.95 * asked


def letters_right(towers: Path, questions: int) -> tuple[int, int]:
    import scenes
    import torch
    import wording
    from transformers import LlamaForCausalLM

    llama = LlamaForCausalLM.from_pretrained(towers / "llama", dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(towers / "llama/tokenizer.json"))
    rng, right = scenes.rng_of("eval", "letters"), 0
    for number in range(questions):
        ability = wording.ABILITIES[number % len(wording.ABILITIES)]
        facts = scenes.imagine(rng, scenes.pick(rng, ability.kinds))
        choice = wording.ask(facts, ability, rng)
        for by in range(4):
            turned = choice.rotated(by)
            parts = ("USER: ", wording.caption(facts, rng), f"\n{turned.prompt()} ASSISTANT:")
            ids = [2, *(i for part in parts for i in tokenizer.encode(part, add_special_tokens=False).ids)]
            with torch.no_grad():
                best = int(llama(torch.tensor([ids])).logits[0, -1].argmax())
            right += tokenizer.id_to_token(best) == turned.letter
    return right, 4 * questions
