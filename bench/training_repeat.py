"""What a repeated training costs and how equal it is: the same stage twice, as it comes and with `deterministic: true`.

Makes random towers of a chosen size, a prepared set of random rows, and launches the trainer as a job does. Prints a
table; fails when a pair that has to be equal is not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from llava_contract.run import JobKind, JobRef, ModelParts, RunConfig, Stage, StorageTarget, TrainTask
from llava_contract.v1alpha1.tracking import TrackingSpec
from llava_contract.v1alpha1.training import (
    DeepspeedSpec,
    LoraSettings,
    Order,
    Precision,
    Schedule,
    TuningMode,
    TuningSpec,
)
from llava_contract.v1alpha1.watching import SamplesSpec, ValidationSpec
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import IGNORE, IMAGE, Sample
from llava_trainer.data.shards import ImageWriter, Place, TokenWriter

_VOCABULARY = 32_000
_NUM_IMAGES = 16
_NUM_TOKENS = 256


@dataclass(frozen=True)
class Size:
    """Widths of random towers; image in pixels."""

    width: int
    layers: int
    tower_width: int
    tower_layers: int
    image: int
    patch: int


SIZES = {
    "tiny": Size(256, 2, 128, 3, 56, 14),
    "1b": Size(2048, 16, 1024, 24, 336, 14),
}


@dataclass(frozen=True)
class Trained:
    """What a run left: losses by step, the hash of its weights, the median time of a step in seconds."""

    losses: tuple[float, ...]
    weights: str
    step_s: float
    memory_gib: float


def write_parts(folder: Path, size: Size) -> None:
    """Save a random Llama with a tokenizer of numbered words, and a random CLIP tower, in bf16."""
    import tokenizers  # noqa: PLC0415  (the libraries of a model take seconds, --help should not)
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    llama = transformers.LlamaConfig(
        vocab_size=_VOCABULARY, hidden_size=size.width, intermediate_size=size.width * 11 // 4,
        num_hidden_layers=size.layers, num_attention_heads=size.width // 64, num_key_value_heads=size.width // 64,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    transformers.LlamaForCausalLM(llama).save_pretrained(folder / "llm")
    clip = transformers.CLIPVisionConfig(
        hidden_size=size.tower_width, intermediate_size=4 * size.tower_width, num_hidden_layers=size.tower_layers,
        num_attention_heads=size.tower_width // 64, image_size=size.image, patch_size=size.patch,
    )  # fmt: skip
    transformers.CLIPVisionModel(clip).save_pretrained(folder / "tower")
    torch.set_default_dtype(torch.float32)
    edge = {"height": size.image, "width": size.image}
    settings = {
        "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True, "do_center_crop": True,
        "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3, "rescale_factor": 1 / 255,
        "image_processor_type": "CLIPImageProcessor", "crop_size": edge, "size": {"shortest_edge": size.image},
    }  # fmt: skip
    (folder / "tower" / "preprocessor_config.json").write_text(json.dumps(settings))
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{n}": n for n in range(3, _VOCABULARY)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))  # noqa: S106
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.save(str(folder / "llm" / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "llm" / "tokenizer_config.json").write_text(json.dumps(special))


def write_rows(folder: Path, size: Size, num_rows: int) -> None:
    """Write a prepared set: every fourth row is text only; an eighth as many rows are held out."""
    settings = ImageSettings.from_folder(folder / "tower", pad_to_square=True)
    images = ImageWriter(Place(folder / "images"), settings)
    sides = {name: TokenWriter(Place(folder / name)) for name in ("tokens", "held-out")}
    draw = Random(0)  # noqa: S311  (pixels, no secrets)
    for number in range(_NUM_IMAGES):
        images.add(str(number), draw.randbytes(size.image**2 * 3))
    for row in range(num_rows + num_rows // 8):
        has_image = row % 4 != 0
        ids = [draw.randrange(3, _VOCABULARY) for _ in range(draw.randrange(_NUM_TOKENS // 2, _NUM_TOKENS))]
        if has_image:
            ids[1] = IMAGE
        labels = [IGNORE] * 8 + ids[8:]
        shown = (str(row % _NUM_IMAGES),) if has_image else ()
        side = sides["tokens" if row < num_rows else "held-out"]
        side.add(Sample("images.json" if has_image else "text.json", row, None, shown, tuple(ids), tuple(labels)))
    for part in (images, *sides.values()):
        part.finish()


def config_of(folder: Path, name: str, asked: argparse.Namespace, *, deterministic: bool) -> RunConfig:
    """Describe one run; its storage lies below `folder`."""
    storage = folder / name
    storage.mkdir()
    parts = {"images": "images", "tokens": "tokens", "held_out": "held-out"}
    (storage / "set.json").write_text(json.dumps({key: str(folder / part) for key, part in parts.items()}))
    lora = TuningSpec(mode=TuningMode.LORA, lora=LoraSettings(rank=64, alpha=16, dropout=0.05))
    task = TrainTask(
        model=ModelParts(
            llm=str(folder / "llm"), vision_tower=str(folder / "tower"), prompt_template="vicuna", projector_depth=2,
            vision_feature_layer=-2,
        ),
        prepared=str(storage / "set.json"), pretrained_projector=None, llm=lora, vision_tower=lora, epochs=None,
        max_steps=asked.steps, batch_size=asked.batch_size, accumulation=1, max_length=1472, learning_rate=2e-4,
        schedule=Schedule.COSINE, warmup_ratio=0.03, weight_decay=0.0, max_grad_norm=1.0,
        precision=Precision(asked.precision), order=Order.SHUFFLED, seed=0, deterministic=deterministic,
        gradient_checkpointing=asked.checkpointing,
        stop_on_loss_spike=True, deepspeed=DeepspeedSpec(zero_stage=asked.zero_stage),
        validation=ValidationSpec(fraction=0.1, every_steps=max(1, asked.steps // 2)) if asked.watched else None,
        samples=SamplesSpec(prompts=["w5 w6"], every_steps=asked.steps, max_new_tokens=8) if asked.watched else None,
        save_every_steps=asked.steps, save_every_minutes=None, keep_last=1, tracking=TrackingSpec(),
    )  # fmt: skip
    return RunConfig(
        job=JobRef(kind=JobKind.TRAIN, namespace="bench", name=name, uid=name), stage=Stage.FINETUNE, attempt=1,
        num_ranks=asked.ranks, storage=StorageTarget(uri=str(storage)), hang_timeout_seconds=300, task=task,
    )  # fmt: skip


def train(config: RunConfig) -> Trained:
    """Launch a run, wait for its end, and read what it left; SystemExit with its log when it fails."""
    storage = Path(config.storage.uri)
    (storage / "run.json").write_text(config.model_dump_json())
    files = {"LLAVA_RESULT_FILE": storage / "result.json", "LLAVA_PROGRESS_FILE": storage / "progress.json"}
    environment = os.environ | {name: str(path) for name, path in files.items()}
    command = [sys.executable, "-m", "llava_trainer.launch", str(storage / "run.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{config.job.name} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}")
    rows = [json.loads(line) for line in (storage / "logs/finetune-history.jsonl").read_text().splitlines()]
    progress = json.loads((storage / "progress.json").read_text())
    return Trained(
        losses=tuple(row["loss"] for row in rows),
        weights=_weights(storage),
        step_s=statistics.median(row["seconds"] for row in rows[len(rows) // 4 :]),
        memory_gib=progress["memoryBytes"] / 2**30,
    )


def _weights(storage: Path) -> str:
    (manifest,) = storage.glob("checkpoints/finetune/*/*/MANIFEST.json")
    files: list[dict[str, Any]] = json.loads(manifest.read_text())["files"]
    return " ".join(sorted(file["sha256"][:12] for file in files))


def main() -> int:
    """Train in pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--zero-stage", type=int, default=2)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations anew in the backward pass")
    parser.add_argument("--watched", action="store_true", help="hold rows out and ask for answers as well")
    asked = parser.parse_args()
    import torch  # noqa: PLC0415

    wants_equal = {True} if torch.cuda.is_available() else {True, False}
    is_equal = True
    with tempfile.TemporaryDirectory(prefix="llava-repeat-") as name:
        folder = Path(name)
        write_parts(folder, SIZES[asked.size])
        write_rows(folder, SIZES[asked.size], asked.batch_size * asked.ranks * 8)
        print(f"\n{asked.size}, {asked.ranks} ranks, ZeRO {asked.zero_stage}, {asked.precision}, {asked.steps} steps")
        print("| deterministic | a step | memory | losses of two runs | weights of two runs |\n|---|---|---|---|---|")
        for deterministic in (False, True):
            pair = [
                train(config_of(folder, f"run-{deterministic}-{n}".lower(), asked, deterministic=deterministic))
                for n in range(2)
            ]
            same = [pair[0].losses == pair[1].losses, pair[0].weights == pair[1].weights]
            words = ["equal" if each else "differ" for each in same]
            step_s, memory = min(run.step_s for run in pair), max(run.memory_gib for run in pair)
            print(
                f"| {deterministic} | {step_s * 1000:.1f} ms | {memory:.1f} GiB | {words[0]} | {words[1]} |", flush=True
            )
            is_equal = is_equal and (all(same) or deterministic not in wants_equal)
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
