"""Writes the two small towers of the example: towers/clip and towers/llama, trained on other pictures than the demo's.

python examples/tiny/make_towers.py [--out FOLDER] [--device cpu|cuda] [--vision-steps N] [--language-steps N]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from scenes import imagine, rng_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from train_language import LanguagePlan, language_lessons, lesson, train_language
from train_vision import IMAGE_SIDE, MEAN, STD, VisionPlan, train_vision, vision_lessons
from transformers import CLIPVisionModel, LlamaForCausalLM, PreTrainedModel
from wording import caption

SPECIAL_PIECES = ["<pad>", "<unk>", "<s>", "</s>"]
VOCABULARY = 640
CORPUS_ROWS = 4_000
PATCH_SCALE, WORD_SCALE = 0.25, 8.0
FOLDER = Path(__file__).parent / "towers"


def make_tokenizer() -> Tokenizer:
    """Byte-level BPE, so that any text has pieces and decodes to itself; the tiny world's words are one piece each."""
    rng = rng_of("towers", "tokenizer")
    corpus: list[str] = []
    for _ in range(CORPUS_ROWS):
        facts = imagine(rng)
        question, answer = lesson(facts, rng)
        corpus += [
            f"USER: {caption(facts, rng)}\n{question} ASSISTANT:",
            answer,
            facts.colour,
            f"The picture shows {answer}",
        ]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106  a piece's name, not a password
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_PIECES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write tokenizer.json and the configuration that names the special pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "clean_up_tokenization_spaces": False,
            "model_max_length": 2048,
        },
    )


def write_processor(folder: Path) -> None:
    """Write CLIP's image processor settings at the tower's size."""
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        "size": {"shortest_edge": IMAGE_SIDE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    _write_json(folder / "preprocessor_config.json", settings)


def write_model(folder: Path, model: PreTrainedModel) -> None:
    """Write a model in bfloat16, which halves what a clone has to carry."""
    model.to(device="cpu", dtype=torch.bfloat16).save_pretrained(folder)


@torch.no_grad()
def bring_together(tower: CLIPVisionModel, llama: LlamaForCausalLM) -> None:
    """Scale both residual streams without changing what the models compute, up to the epsilon of their norms.

    After training, patches have a spread near 5 and word embeddings near 0.05; a projector that starts at torch's
    default has far to go from one to the other. Powers of two, so that bfloat16 rounds nothing.
    """
    tower.pre_layrnorm.weight *= PATCH_SCALE
    tower.pre_layrnorm.bias *= PATCH_SCALE
    for block in tower.encoder.layers:
        for last in (block.self_attn.out_proj, block.mlp.fc2):
            last.weight *= PATCH_SCALE
            last.bias *= PATCH_SCALE
    llama.model.embed_tokens.weight *= WORD_SCALE
    for block in llama.model.layers:
        block.self_attn.o_proj.weight *= WORD_SCALE
        block.mlp.down_proj.weight *= WORD_SCALE


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Make the towers as the command line says."""
    parser = argparse.ArgumentParser(description="Make the tiny example's towers.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to write clip/ and llama/")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--vision-steps", type=int, default=VisionPlan.steps, help="0 leaves the tower untrained")
    parser.add_argument("--language-steps", type=int, default=LanguagePlan.steps, help="0 leaves the Llama untrained")
    asked = parser.parse_args()
    vision, language = VisionPlan(steps=asked.vision_steps), LanguagePlan(steps=asked.language_steps)
    tokenizer = make_tokenizer()
    # All rows are made before the device is touched, because worker processes are forked.
    seen, read = vision_lessons(tokenizer, vision), language_lessons(tokenizer, language)
    write_tokenizer(asked.out / "llama", tokenizer)
    tower = train_vision(tokenizer, seen, vision, device=asked.device)
    llama = train_language(tokenizer, read, language, device=asked.device)
    bring_together(tower, llama)
    write_model(asked.out / "clip", tower)
    write_processor(asked.out / "clip")
    write_model(asked.out / "llama", llama)
    return 0


if __name__ == "__main__":
    sys.exit(main())
