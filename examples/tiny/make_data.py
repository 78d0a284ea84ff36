"""Writes the tiny world's data set in the folders and formats in which LLaVA's data and MMBench are published.

    python examples/tiny/make_data.py [FOLDER]

FOLDER then holds LLaVA-Pretrain/, LLaVA-Instruct-150K/, llava_images/ and benchmark/; the same command writes the same
bytes.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scenes import Facts, Kind, draw, imagine, pick, rng_of
from wording import ABILITIES, CAPTION_REQUESTS, LETTERS, Ability, abilities_of, ask, caption

PRETRAIN_ROWS = 1536
FINETUNE_ROWS = 1920
TEXT_ONLY_EVERY = 16  # the published mix holds about one text-only row in sixteen
QUESTIONS_PER_ABILITY = 24
FOLDER = Path(__file__).parent / "data"
BENCHMARK = "MMBench_TINY_EN.tsv"
IMAGE_SETS = ("coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K", "vg/VG_100K_2")
COLUMNS = (
    "index",
    "question",
    "hint",
    *LETTERS,
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
)
# What is hard to tell is shown and asked more often than what is easy.
KINDS: tuple[Kind, ...] = ("digit", "digit", "shape", "shape", "dots")
EASY = "object_colour"
Turn = tuple[str, str]
Row = dict[str, object]


def write_pretrain(folder: Path) -> None:
    """One caption a picture, as in the published set of 558 thousand."""
    rng, rows = rng_of("demo", "pretrain"), []
    for number in range(PRETRAIN_ROWS):
        scene = draw("demo", rng, imagine(rng, pick(rng, KINDS)))
        name = f"{number % 8:05d}/{number:09d}.jpg"
        _write(folder / "images" / name, scene.jpeg())
        request = pick(rng, CAPTION_REQUESTS)
        human = f"{request}\n<image>" if rng.random() < 0.5 else f"<image>\n{request}"
        rows.append(_row(f"{number:09d}", [(human, caption(scene.facts, rng))], image=name))
    _write_json(folder / "blip_laion_cc_sbu_558k.json", rows)


def write_finetune(annotations: Path, images: Path) -> None:
    """Choices, short answers and captions about pictures of all published sets, and some rows without a picture."""
    rng, rows = rng_of("demo", "finetune"), []
    for number in range(FINETUNE_ROWS):
        if number % TEXT_ONLY_EVERY == TEXT_ONLY_EVERY - 1:
            facts = imagine(rng, pick(rng, KINDS))
            turns = _turns(facts, rng)
            rows.append(
                _row(f"text_{number:06d}", [(f"{caption(facts, rng)}\n{turns[0][0]}", turns[0][1]), *turns[1:]])
            )
            continue
        scene = draw("demo", rng, imagine(rng, pick(rng, KINDS)))
        image_set = IMAGE_SETS[number % len(IMAGE_SETS)]
        name = f"{image_set}/{number:012d}.jpg"
        _write(images / name, scene.jpeg())
        turns = _turns(scene.facts, rng)
        rows.append(_row(f"{number:012d}", [(f"<image>\n{turns[0][0]}", turns[0][1]), *turns[1:]], image=name))
    _write_json(annotations / "llava_v1_5_mix665k.json", rows)


def _turns(facts: Facts, rng: np.random.Generator) -> list[Turn]:
    """One or two questions about one picture: three of four are choices, the others want a word or a caption."""
    turns: list[Turn] = []
    for _ in range(int(rng.integers(1, 3))):
        asked = [ability for ability in abilities_of(facts.kind) for _ in range(1 if ability.category == EASY else 2)]
        ability, form = pick(rng, asked), rng.random()
        if form < 0.75:
            choice = ask(facts, ability, rng)
            turns.append((choice.prompt(), choice.letter))
        elif form < 0.92:
            turns.append((pick(rng, ability.questions), ability.answer(facts)))
        else:
            turns.append((pick(rng, CAPTION_REQUESTS), caption(facts, rng)))
    return turns


def _row(identity: str, turns: list[Turn], *, image: str | None = None) -> Row:
    conversations = [
        {"from": speaker, "value": value}
        for turn in turns
        for speaker, value in zip(("human", "gpt"), turn, strict=True)
    ]
    return {"id": identity, **({"image": image} if image else {}), "conversations": conversations}


def write_benchmark(path: Path) -> None:
    """Questions in the format of MMBench: four rows a question, each with its options moved round by one more place."""
    rng = rng_of("eval", "benchmark")
    rows = [row for number, ability in enumerate(_asked()) for row in _rotations(number + 1, ability, rng)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: int(str(row["index"]))))


def _asked() -> Iterator[Ability]:
    for _ in range(QUESTIONS_PER_ABILITY):
        yield from ABILITIES


def _rotations(index: int, ability: Ability, rng: np.random.Generator) -> Iterator[Row]:
    scene = draw("eval", rng, imagine(rng, pick(rng, ability.kinds)))
    asked = ask(scene.facts, ability, rng)
    for by in range(len(LETTERS)):
        choice = asked.rotated(by)
        yield {
            "index": index + by * 1_000_000,
            "question": choice.question,
            "hint": choice.hint,
            **dict(zip(LETTERS, choice.options, strict=True)),
            "answer": choice.letter,
            "category": ability.category,
            "image": str(index) if by else base64.b64encode(scene.jpeg()).decode("ascii"),
            "source": "tiny",
            "l2-category": ability.l2_category,
            "comment": "",
            "split": "dev",
        }


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_json(path: Path, rows: list[Row]) -> None:
    _write(path, json.dumps(rows, indent=1).encode() + b"\n")


def write_all(folder: Path) -> None:
    """Write the whole data set under a folder; files that are already there are written again."""
    write_pretrain(folder / "LLaVA-Pretrain")
    write_finetune(folder / "LLaVA-Instruct-150K", folder / "llava_images")
    write_benchmark(folder / "benchmark" / BENCHMARK)


def main() -> int:
    """Write the data set where the command line says."""
    parser = argparse.ArgumentParser(description="Write the tiny example's data set.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where to write it; default: %(default)s")
    write_all(parser.parse_args().folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
