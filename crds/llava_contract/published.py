"""The 33 LLaVA recipes that XTuner 0.2.0 published, as numbers: what they share once, and each recipe's differences.

Counts here are XTuner's own micro-batches; recipes.py turns them into what our spec says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from llava_contract.run import Stage

__all__ = ["CAPTIONS", "INSTRUCTIONS", "PUBLISHED", "SHAREGPT4V", "Adapter", "DataSet", "LanguageModel", "Recipe"]


@dataclass(frozen=True)
class LanguageModel:
    """An LLM on the Hugging Face hub and the prompt template that fits it."""

    hub_name: str
    prompt_template: str


@dataclass(frozen=True)
class DataSet:
    """One published file of rows below the data root; `rows` is "llava" unless the file has another shape."""

    annotations: str
    images: str
    num_rows: int | None = None
    rows: str = "llava"


@dataclass(frozen=True)
class Adapter:
    """LoRA settings."""

    rank: int
    alpha: int
    dropout: float = 0.05


@dataclass(frozen=True)
class Recipe:
    """One published training stage; defaults are what all of them, or nearly all, have in common."""

    name: str
    stage: Stage
    language_model: LanguageModel
    data: tuple[DataSet, ...]
    batch_size: int
    learning_rate: float
    pad_to_square: bool
    starts_from: str | None = None  # the recipe whose projector it loads (pretrained_pth)
    accumulation: int = 1
    num_gpus: int = 8
    epochs: int = 1
    max_length: int = 2048 - 576  # text tokens beside the 576 patches of one image
    save_every: int = 500  # micro-batches; sample answers are drawn as often
    llm_is_full: bool = False
    llm_adapter: Adapter | None = None
    llm_is_nf4: bool = False  # double quantisation, fp16 compute
    llm_load_dtype: str | None = None  # None: the dtype that the weights are stored in
    tower_is_full: bool = False
    tower_adapter: Adapter | None = None
    num_loader_workers: int = 4
    pins_memory: bool = True
    vision_tower: str = "openai/clip-vit-large-patch14-336"
    vision_feature_layer: int = -2
    projector_depth: int = 2
    recomputes_activations: bool = True
    optimizer: str = "AdamW"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    warmup_ratio: float = 0.03
    warmup_start_factor: float = 1e-5
    final_learning_rate: float = 0.0
    keep_last: int = 2
    zero_stage: int = 2  # the READMEs' command lines
    amp_dtype: str = "float16"
    sample_questions: tuple[str, ...] = ("请描述一下这张照片", "Please describe this picture")
    sample_image: str = "https://llava-vl.github.io/static/images/view.jpg"

    @property
    def global_batch(self) -> int:
        """Samples per optimizer step over all GPUs."""
        return self.batch_size * self.accumulation * self.num_gpus

    @property
    def group_size(self) -> int | None:
        """Samples per GPU that finetune draws from one length group; pretrain shuffles plainly."""
        return self.batch_size * self.accumulation if self.stage is Stage.FINETUNE else None

    @property
    def num_rows(self) -> int | None:
        """Rows of all data sets; None where a set's size is not published."""
        counts = [data_set.num_rows for data_set in self.data]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def num_micro_batches(self) -> int | None:
        """XTuner's iterations: rows, in finetune rounded up to whole global batches, over batch size and GPUs."""
        if self.num_rows is None:
            return None
        rounded_to = self.global_batch if self.group_size else 1
        num_samples = ceil(self.num_rows / rounded_to) * rounded_to
        return self.epochs * ceil(num_samples / (self.batch_size * self.num_gpus))

    @property
    def num_steps(self) -> int | None:
        """Optimizer steps: what this project counts."""
        return None if self.num_rows is None else self.epochs * ceil(self.num_rows / self.global_batch)

    @property
    def num_warmup_micro_batches(self) -> int | None:
        """XTuner's warm-up iterations."""
        return None if self.num_micro_batches is None else int(self.warmup_ratio * self.num_micro_batches)

    @property
    def save_every_steps(self) -> int:
        """`save_every` in optimizer steps, rounded down."""
        return max(1, self.save_every // self.accumulation)


INTERNLM2_1_8B: Final = LanguageModel("internlm/internlm2-chat-1_8b", "internlm2_chat")
INTERNLM2_7B: Final = LanguageModel("internlm/internlm2-chat-7b", "internlm2_chat")
INTERNLM2_20B: Final = LanguageModel("internlm/internlm2-chat-20b", "internlm2_chat")
INTERNLM_7B: Final = LanguageModel("internlm/internlm-chat-7b", "internlm_chat")
LLAMA3_8B: Final = LanguageModel("meta-llama/Meta-Llama-3-8B-Instruct", "llama3_chat")
# The published 70B file names the 8B model; a job that means 70B has to write model.llm.
LLAMA3_70B: Final = LLAMA3_8B
PHI3_MINI: Final = LanguageModel("microsoft/Phi-3-mini-4k-instruct", "phi3_chat")
VICUNA_7B: Final = LanguageModel("lmsys/vicuna-7b-v1.5", "vicuna")
VICUNA_13B: Final = LanguageModel("lmsys/vicuna-13b-v1.5", "vicuna")

_LLAVA_IMAGES: Final = "llava_data/llava_images"
_REFCOCO: Final = "llava_data/RefCOCOJson/train.json"
CAPTIONS: Final = DataSet(
    "llava_data/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json", "llava_data/LLaVA-Pretrain/images", 558_128
)
INSTRUCTIONS: Final = DataSet("llava_data/LLaVA-Instruct-150K/llava_v1_5_mix665k.json", _LLAVA_IMAGES, 665_298)
SHAREGPT4V: Final = DataSet("sharegpt4v/share-captioner_coco_lcs_sam_1246k_1107.json", "sharegpt4v/data")
REFCOCO: Final = (
    DataSet(_REFCOCO, _LLAVA_IMAGES, rows="refcoco"),
    DataSet(_REFCOCO, _LLAVA_IMAGES, rows="inverse-refcoco"),
    INSTRUCTIONS,
)
INTERNVL: Final = tuple(
    DataSet(f"internvl_sft/{annotations}.jsonl", f"internvl_sft/data{images}")
    for annotations, images in (
        ("sharegpt4v_instruct_gpt4-vision_cap100k", ""),
        ("llava_instruct_150k_zh", "/coco"),
        ("sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k", ""),
        ("dvqa_train_200k", "/dvqa"),
        ("chartqa_train_18k", "/chartqa"),
        ("ai2d_train_12k", "/ai2d"),
        ("docvqa_train_10k", "/docvqa"),
        ("geoqa+", "/geoqa+"),
        ("synthdog_en", "/synthdog-en"),
    )
)

_LONG: Final = 4096 - 576
_TOWER_ADAPTER: Final = Adapter(64, 16)

_PRETRAIN: Final = Recipe("", Stage.PRETRAIN, VICUNA_7B, (CAPTIONS,), 32, 1e-3, pad_to_square=False)
_NF4_PRETRAIN: Final = replace(_PRETRAIN, llm_is_nf4=True, llm_load_dtype="float16")
_SHAREGPT4V_PRETRAIN: Final = replace(
    _PRETRAIN, data=(SHAREGPT4V,), batch_size=16, accumulation=2, max_length=_LONG, save_every=1000
)
_FULL: Final = replace(
    _PRETRAIN,
    stage=Stage.FINETUNE, data=(INSTRUCTIONS,), batch_size=8, accumulation=2, learning_rate=2e-5, pad_to_square=True,
    llm_is_full=True,
)  # fmt: skip
_QLORA: Final = replace(
    _FULL,
    batch_size=16, accumulation=1, learning_rate=2e-4,
    llm_is_full=False, llm_adapter=Adapter(512, 256), llm_is_nf4=True, llm_load_dtype="float16",
    tower_adapter=_TOWER_ADAPTER,
)  # fmt: skip
_FULL_INTERNLM2: Final = replace(_FULL, llm_load_dtype="float32", num_loader_workers=0, pins_memory=False)
_FULL_LLAVA15: Final = replace(_FULL, batch_size=16, accumulation=1)
_LORA_LLAVA15: Final = replace(_FULL_LLAVA15, learning_rate=2e-4, llm_is_full=False, llm_adapter=Adapter(128, 256))

_CLIP: Final = "clip_vit_large_p14_336"
_INTERNLM2_1_8B_PRETRAIN: Final = f"llava_internlm2_chat_1_8b_{_CLIP}_e1_gpu8_pretrain"
_INTERNLM2_7B_PRETRAIN: Final = f"llava_internlm2_chat_7b_{_CLIP}_e1_gpu8_pretrain"
_INTERNLM2_20B_PRETRAIN: Final = f"llava_internlm2_chat_20b_{_CLIP}_e1_gpu8_pretrain"
_INTERNLM_7B_PRETRAIN: Final = f"llava_internlm_chat_7b_{_CLIP}_e1_gpu8_pretrain"
_LLAMA3_PRETRAIN: Final = f"llava_llama3_8b_instruct_{_CLIP}_e1_gpu8_pretrain"
_LLAMA3_SHAREGPT4V_PRETRAIN: Final = f"llava_llama3_8b_instruct_{_CLIP}_e1_gpu8_sharegpt4v_pretrain"
_LLAMA3_ONE_GPU_PRETRAIN: Final = f"llava_llama3_8b_instruct_quant_{_CLIP}_e1_gpu1_pretrain"
_PHI3_PRETRAIN: Final = f"llava_phi3_mini_4k_instruct_{_CLIP}_e1_gpu8_pretrain"
_PHI3_SHAREGPT4V_PRETRAIN: Final = f"llava_phi3_mini_4k_instruct_{_CLIP}_e1_gpu8_sharegpt4v_pretrain"
_VICUNA_7B_PRETRAIN: Final = f"llava_vicuna_7b_v15_{_CLIP}_e1_gpu8_pretrain"
_VICUNA_13B_PRETRAIN: Final = f"llava_vicuna_13b_v15_{_CLIP}_e1_gpu8_pretrain"

_INTERNLM: Final = (
    replace(_NF4_PRETRAIN, name=_INTERNLM2_1_8B_PRETRAIN, language_model=INTERNLM2_1_8B),
    replace(
        _QLORA, name=f"llava_internlm2_chat_1_8b_qlora_{_CLIP}_lora_e1_gpu8_finetune",
        language_model=INTERNLM2_1_8B, starts_from=_INTERNLM2_1_8B_PRETRAIN,
    ),
    replace(_NF4_PRETRAIN, name=_INTERNLM2_7B_PRETRAIN, language_model=INTERNLM2_7B),
    replace(
        _QLORA, name=f"llava_internlm2_chat_7b_qlora_{_CLIP}_lora_e1_gpu8_finetune",
        language_model=INTERNLM2_7B, starts_from=_INTERNLM2_7B_PRETRAIN,
    ),
    replace(
        _FULL_INTERNLM2, name=f"llava_internlm2_chat_7b_{_CLIP}_e1_gpu8_finetune",
        language_model=INTERNLM2_7B, starts_from=_INTERNLM2_7B_PRETRAIN,
    ),
    replace(_NF4_PRETRAIN, name=_INTERNLM2_20B_PRETRAIN, language_model=INTERNLM2_20B),
    replace(
        _QLORA, name=f"llava_internlm2_chat_20b_qlora_{_CLIP}_lora_e1_gpu8_finetune", batch_size=8, accumulation=2,
        language_model=INTERNLM2_20B, starts_from=_INTERNLM2_20B_PRETRAIN,
    ),
    replace(
        _FULL_INTERNLM2, name=f"llava_internlm2_chat_20b_{_CLIP}_e1_gpu8_finetune", batch_size=4, accumulation=4,
        language_model=INTERNLM2_20B, starts_from=_INTERNLM2_20B_PRETRAIN,
    ),
    replace(_NF4_PRETRAIN, name=_INTERNLM_7B_PRETRAIN, language_model=INTERNLM_7B),
    replace(
        _QLORA, name=f"llava_internlm_chat_7b_qlora_{_CLIP}_lora_e1_gpu8_finetune",
        language_model=INTERNLM_7B, starts_from=_INTERNLM_7B_PRETRAIN,
    ),
)  # fmt: skip

_LLAMA3: Final = (
    replace(
        _NF4_PRETRAIN, name=f"llava_llama3_70b_instruct_quant_{_CLIP}_e1_gpu8_pretrain",
        language_model=LLAMA3_70B, learning_rate=5e-4, pins_memory=False,
    ),
    replace(_PRETRAIN, name=_LLAMA3_PRETRAIN, language_model=LLAMA3_8B),
    replace(
        _FULL, name=f"llava_llama3_8b_instruct_full_{_CLIP}_e1_gpu8_finetune", save_every=1000,
        language_model=LLAMA3_8B, starts_from=_LLAMA3_PRETRAIN,
    ),
    replace(
        _FULL, name=f"llava_llama3_8b_instruct_full_{_CLIP}_lora_e1_gpu8_finetune", save_every=1000,
        tower_adapter=_TOWER_ADAPTER, language_model=LLAMA3_8B, starts_from=_LLAMA3_PRETRAIN,
    ),
    replace(_SHAREGPT4V_PRETRAIN, name=_LLAMA3_SHAREGPT4V_PRETRAIN, language_model=LLAMA3_8B),
    replace(
        _FULL, name=f"llava_llama3_8b_instruct_full_{_CLIP}_lora_e1_gpu8_internvl_finetune", save_every=5000,
        data=INTERNVL, batch_size=4, accumulation=4, max_length=_LONG, tower_adapter=_TOWER_ADAPTER,
        language_model=LLAMA3_8B, starts_from=_LLAMA3_SHAREGPT4V_PRETRAIN,
    ),
    replace(
        _NF4_PRETRAIN, name=_LLAMA3_ONE_GPU_PRETRAIN, language_model=LLAMA3_8B, num_gpus=1, save_every=50_000,
        batch_size=1, accumulation=256, num_loader_workers=0, pins_memory=False,
    ),
    replace(
        _QLORA, name=f"llava_llama3_8b_instruct_qlora_{_CLIP}_e1_gpu1_finetune", num_gpus=1, save_every=50_000,
        batch_size=1, accumulation=128, llm_adapter=Adapter(64, 16), tower_adapter=None, num_loader_workers=0,
        pins_memory=False, language_model=LLAMA3_8B, starts_from=_LLAMA3_ONE_GPU_PRETRAIN,
    ),
)  # fmt: skip

_LLAVA15: Final = (
    replace(_PRETRAIN, name="llava_v15_7b_pretrain", language_model=VICUNA_7B),
    replace(
        _FULL_LLAVA15, name="llava_v15_7b_finetune", language_model=VICUNA_7B, starts_from="llava_v15_7b_pretrain"
    ),
    replace(
        _LORA_LLAVA15, name="llava_v15_7b_finetune_lora", language_model=VICUNA_7B, starts_from="llava_v15_7b_pretrain"
    ),
    replace(_PRETRAIN, name="llava_v15_13b_pretrain", language_model=VICUNA_13B),
    replace(
        _FULL_LLAVA15, name="llava_v15_13b_finetune", language_model=VICUNA_13B, starts_from="llava_v15_13b_pretrain"
    ),
    replace(
        _LORA_LLAVA15, name="llava_v15_13b_finetune_lora",
        language_model=VICUNA_13B, starts_from="llava_v15_13b_pretrain",
    ),
)  # fmt: skip

_PHI3: Final = (
    replace(_PRETRAIN, name=_PHI3_PRETRAIN, language_model=PHI3_MINI),
    replace(
        _FULL, name=f"llava_phi3_mini_4k_instruct_full_{_CLIP}_e1_gpu8_finetune", save_every=1000,
        language_model=PHI3_MINI, starts_from=_PHI3_PRETRAIN,
    ),
    replace(_SHAREGPT4V_PRETRAIN, name=_PHI3_SHAREGPT4V_PRETRAIN, language_model=PHI3_MINI),
    replace(
        _FULL, name=f"llava_phi3_mini_4k_instruct_full_{_CLIP}_full_e2_gpu8_internvl_finetune", save_every=5000,
        data=INTERNVL, epochs=2, max_length=_LONG, tower_is_full=True,
        language_model=PHI3_MINI, starts_from=_PHI3_SHAREGPT4V_PRETRAIN,
    ),
)  # fmt: skip

_VICUNA: Final = (
    replace(_NF4_PRETRAIN, name=_VICUNA_7B_PRETRAIN, language_model=VICUNA_7B),
    replace(
        _QLORA, name=f"llava_vicuna_7b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune",
        language_model=VICUNA_7B, starts_from=_VICUNA_7B_PRETRAIN,
    ),
    replace(
        _QLORA, name=f"llava_vicuna_7b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune_refcoco", data=REFCOCO,
        language_model=VICUNA_7B, starts_from=_VICUNA_7B_PRETRAIN,
    ),
    replace(_NF4_PRETRAIN, name=_VICUNA_13B_PRETRAIN, language_model=VICUNA_13B),
    replace(
        _QLORA, name=f"llava_vicuna_13b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune",
        language_model=VICUNA_13B, starts_from=_VICUNA_13B_PRETRAIN,
    ),
)  # fmt: skip

PUBLISHED: Final = {recipe.name: recipe for recipe in _INTERNLM + _LLAMA3 + _LLAVA15 + _PHI3 + _VICUNA}
"""Every published recipe by XTuner's own file name."""
