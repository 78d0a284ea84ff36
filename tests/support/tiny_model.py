"""Random towers, language models and packs of a few kilobytes: all that a LLaVA is made of, in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from llava_contract.run import ModelParts, TrainTask
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
from llava_trainer.data.batch import Batch
from llava_trainer.data.sample import IGNORE, IMAGE
from llava_trainer.model.build import build_model
from llava_trainer.model.llava import Llava

IMAGE_SIZE, PATCH, PATCHES = 16, 8, 4
VOCABULARY = 70
WORDS = tuple("a b c d e f g h red green blue circle square What colour is this ? A B C D .".split())  # noqa: SIM905

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": False,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

LLMS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**_SIZES, rope_theta=50_000.0),
    "llama-tied-biased": lambda: transformers.LlamaConfig(
        **{**_SIZES, "tie_word_embeddings": True}, attention_bias=True
    ),
    "qwen2": lambda: transformers.Qwen2Config(**_SIZES),
    "qwen3": lambda: transformers.Qwen3Config(**_SIZES),
    "internlm2": lambda: transformers.LlamaConfig(
        **_SIZES,
        attention_bias=True,
        rope_theta=1e6,
        rope_scaling={"rope_type": "dynamic", "factor": 2.0},
    ),
    "internlm": lambda: transformers.LlamaConfig(**{**_SIZES, "num_key_value_heads": 4}, attention_bias=True),
    "mistral": lambda: transformers.MistralConfig(**_SIZES, sliding_window=5),
    "mixtral": lambda: transformers.MixtralConfig(**_SIZES, num_local_experts=3, num_experts_per_tok=2),
    "phi3": lambda: transformers.Phi3Config(**{**_SIZES, "num_key_value_heads": 4}, sliding_window=6),
    "gemma": lambda: transformers.GemmaConfig(**{**_SIZES, "tie_word_embeddings": True}),
    "gemma2": lambda: transformers.Gemma2Config(**{**_SIZES, "tie_word_embeddings": True}, sliding_window=4),
}


def write_llm(folder: Path, family: str = "llama") -> Path:
    """Save a random language model with a tokenizer of whole words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(LLMS[family]())
        for parameter in model.parameters():  # larger than the default, so that attention matters
            parameter.data.add_(torch.randn_like(parameter) * 0.08)
    model.save_pretrained(folder)
    if family in PUBLISHED:
        PUBLISHED[family](folder)
    write_tokenizer(folder)
    return folder


def _as_internlm(folder: Path) -> None:
    """Make a saved Llama look like an InternLM: the same tensors, other words in its config."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "internlm", "bias": config.pop("attention_bias"), "auto_map": {"AutoConfig": "odd.Code"}}
    rope = config.pop("rope_parameters")
    config["rotary"] = {"base": rope["rope_theta"], "type": "dynamic"}
    (folder / "config.json").write_text(json.dumps(config))


def _as_internlm2(folder: Path) -> None:
    """Make a saved Llama look like an InternLM2: queries, keys and values of a group behind one another."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "internlm2", "bias": config.pop("attention_bias"), "auto_map": {"AutoConfig": "odd.Code"}}
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "dynamic", "factor": rope["factor"]}}
    (folder / "config.json").write_text(json.dumps(config))
    llama = load_file(folder / "model.safetensors")
    tensors = {_internlm2_name(name): tensor for name, tensor in llama.items() if name.split(".")[-2] not in _QKV}
    for layer in range(config["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            parts = [llama[f"model.layers.{layer}.self_attn.{part}.{kind}"] for part in _QKV]
            groups = [part.unflatten(0, (config["num_key_value_heads"], -1)) for part in parts]
            tensors[f"model.layers.{layer}.attention.wqkv.{kind}"] = torch.cat(groups, dim=1).flatten(0, 1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


_QKV = ("q_proj", "k_proj", "v_proj")
_INTERNLM2_WORDS = {
    "embed_tokens": "tok_embeddings", "lm_head": "output", "self_attn": "attention", "o_proj": "wo",
    "mlp": "feed_forward", "gate_proj": "w1", "down_proj": "w2", "up_proj": "w3", "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def _internlm2_name(name: str) -> str:
    return ".".join(_INTERNLM2_WORDS.get(word, word) for word in name.split("."))


PUBLISHED = {"internlm": _as_internlm, "internlm2": _as_internlm2}
"""Families whose folders are laid out otherwise than the model that runs them."""


def write_tokenizer(folder: Path) -> None:
    """Save a tokenizer of whole words with <pad> missing: pad, bos, eos and unknown are 0 to 3."""
    special = ["<unk>", "<s>", "</s>"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.decoder = tokenizers.decoders.WordPiece(prefix="##")
    backend.add_special_tokens(special)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


TOWERS: dict[str, Any] = {
    "clip": (transformers.CLIPVisionModel, transformers.CLIPVisionConfig),
    "siglip": (transformers.SiglipVisionModel, transformers.SiglipVisionConfig),
}


def write_tower(folder: Path, family: str = "clip") -> Path:
    """Save a random vision tower of three layers with an image processor."""
    model_class, config_class = TOWERS[family]
    config = config_class(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = model_class(config)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    edge = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    crops = {"crop_size": edge, "size": {"shortest_edge": IMAGE_SIZE}, "do_center_crop": True}
    preprocessor = {
        "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 3, "rescale_factor": 1 / 255,
        "image_processor_type": "CLIPImageProcessor" if family == "clip" else "SiglipImageProcessor",
        **(crops if family == "clip" else {"size": edge}),
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def frozen() -> TuningSpec:
    return TuningSpec(mode=TuningMode.FROZEN)


def full() -> TuningSpec:
    return TuningSpec(mode=TuningMode.FULL)


def lora(rank: int = 4, *, mode: TuningMode = TuningMode.LORA) -> TuningSpec:
    return TuningSpec(mode=mode, lora=LoraSettings(rank=rank, alpha=2 * rank))


def train_task(llm: TuningSpec | None = None, tower: TuningSpec | None = None, **changes: Any) -> TrainTask:
    """Describe a training stage in which only the projector is trained, unless told otherwise."""
    parts = ModelParts(
        llm="llm", vision_tower="tower", prompt_template="vicuna", projector_depth=2, vision_feature_layer=-2
    )
    settings: dict[str, Any] = {
        "model": parts, "prepared": "set.json", "pretrained_projector": None, "llm": llm or frozen(),
        "vision_tower": tower or frozen(), "epochs": 1, "max_steps": None, "batch_size": 2, "accumulation": 1,
        "max_length": 64, "learning_rate": 1e-3, "schedule": Schedule.COSINE, "warmup_ratio": 0.03, "weight_decay": 0.0,
        "max_grad_norm": 1.0, "precision": Precision.FP32, "order": Order.SHUFFLED, "seed": 0,
        "gradient_checkpointing": False,
        "deepspeed": DeepspeedSpec(), "save_every_steps": 100, "save_every_minutes": None, "keep_last": 2,
        "tracking": TrackingSpec(), "deterministic": False, "stop_on_loss_spike": True, "validation": None,
        "samples": None,
    }  # fmt: skip
    return TrainTask(**settings | changes)


def tiny_llava(
    folder: Path, family: str = "llama", *, task: TrainTask | None = None, dtype: torch.dtype = torch.float32
) -> Llava:
    """Build a model from random parts below `folder`, written there unless they are there already."""
    llm, tower = folder / family, folder / "tower"
    if not llm.exists():
        write_llm(llm, family)
    if not tower.exists():
        write_tower(tower)
    return build_model(
        task or train_task(), tower_folder=tower, llm_folder=llm, dtype=dtype, device=torch.device("cpu")
    )


Row = tuple[list[int], list[int]]
"""Token ids with IMAGE for an image, and labels."""


def pack(
    rows: Sequence[Row], pixels: torch.Tensor | None = None, *, patches: int = PATCHES, size: int = IMAGE_SIZE
) -> Batch:
    """Lay rows behind one another; `pixels` holds the images in the order of their tokens."""
    tokens: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    bounds = [0]
    for row_ids, row_labels in rows:
        for token, label in zip(row_ids, row_labels, strict=True):
            if token == IMAGE:
                slots += range(len(tokens), len(tokens) + patches)
            count = patches if token == IMAGE else 1
            tokens += [0 if token == IMAGE else token] * count
            labels += [label] * count
        positions += range(len(tokens) - bounds[-1])
        bounds.append(len(tokens))
    lengths = [end - start for start, end in pairwise(bounds)]
    return Batch(
        tokens_T=torch.tensor(tokens),
        labels_T=torch.tensor(labels),
        positions_T=torch.tensor(positions),
        cu_seqlens_S1=torch.tensor(bounds, dtype=torch.int32),
        max_seqlen=max(lengths),
        pixels_ICHW=torch.zeros(1, 3, size, size) if pixels is None else pixels,
        num_images=len(slots) // patches,
        image_slots_N=torch.tensor(slots, dtype=torch.int64),
        source_S=tuple(f"row {i}" for i in range(len(rows))),
        label_sources_L=torch.zeros(sum(label != IGNORE for label in labels[1:]), dtype=torch.int64),
    )


def random_row(length: int, *, image: bool, seed: int) -> Row:
    """Draw a row whose second half is in the loss."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
    if image:
        ids[1] = IMAGE
    half = length // 2
    return ids, [IGNORE] * half + ids[half:]


def random_pixels(count: int, *, seed: int = 0, size: int = IMAGE_SIZE) -> torch.Tensor:
    """Draw normalised pixels."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
