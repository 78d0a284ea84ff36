"""Which combinations of fields are refused, each rule once as CEL for the API server and once as a Python predicate.

A model lists its rules in RULES: pydantic enforces the predicate and crd.py writes the CEL text, with one message and
one path for both. A predicate sees a model that is already valid field by field, as CEL does; it may look at what the
user wrote, never at what a recipe will fill.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from llava_contract.rule import Rule

if TYPE_CHECKING:
    from llava_contract.v1alpha1.evaljob import LlavaEvalJob
    from llava_contract.v1alpha1.pods import CacheVolume, EnvVar
    from llava_contract.v1alpha1.storage import StorageSpec
    from llava_contract.v1alpha1.training import DeepspeedSpec, TrainStageSpec, TuningSpec
    from llava_contract.v1alpha1.trainjob import LlavaTrainJob, LlavaTrainJobSpec
    from llava_contract.v1alpha1.workers import WorkersSpec

_GANG_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_GANG_PREFIXES = ("PET_", "MASTER_", "LLAVA_")
_ADAPTER_MODES = ("lora", "qlora")
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _has_job_name(job: LlavaTrainJob | LlavaEvalJob) -> bool:
    return len(job.name) <= 30 and _JOB_NAME.fullmatch(job.name) is not None


JOB_NAME: Final = Rule(
    "job-name",
    "self.metadata.name.size() <= 30 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    _has_job_name,
    "metadata.name must be at most 30 characters: lower-case letters, digits and '-', starting with a letter "
    "and ending with a letter or digit",
    ("metadata", "name"),
)


def _keeps_lora_to_adapters(tuning: TuningSpec) -> bool:
    return tuning.lora is None or tuning.mode in _ADAPTER_MODES


LORA_NEEDS_MODE: Final = Rule(
    "lora-needs-mode",
    "!has(self.lora) || self.mode in ['lora', 'qlora']",
    _keeps_lora_to_adapters,
    "lora settings belong to mode lora or qlora; remove them or change mode",
    ("lora",),
)


def _has_one_length(stage: TrainStageSpec) -> bool:
    return stage.epochs is None or stage.max_steps is None


EPOCHS_OR_STEPS: Final = Rule(
    "epochs-or-steps",
    "!has(self.epochs) || !has(self.maxSteps)",
    _has_one_length,
    "write epochs or maxSteps, not both",
    ("maxSteps",),
)


def _quantises_llm_only(stage: TrainStageSpec) -> bool:
    return stage.vision_tower is None or stage.vision_tower.mode != "qlora"


QLORA_IS_FOR_THE_LLM: Final = Rule(
    "qlora-is-for-the-llm",
    "!has(self.visionTower) || self.visionTower.mode != 'qlora'",
    _quantises_llm_only,
    "qlora is for the LLM only; use lora for the vision tower",
    ("visionTower", "mode"),
)


def _offloads_with_zero(deepspeed: DeepspeedSpec) -> bool:
    return deepspeed.offload == "none" or deepspeed.zero_stage >= 1


OFFLOAD_NEEDS_ZERO: Final = Rule(
    "offload-needs-zero",
    "self.offload == 'none' || self.zeroStage >= 1",
    _offloads_with_zero,
    "offload needs zeroStage 1, 2 or 3; DeepSpeed ignores it at stage 0",
    ("offload",),
)


def _offloads_parameters_at_stage_3(deepspeed: DeepspeedSpec) -> bool:
    return deepspeed.offload != "parameters" or deepspeed.zero_stage in (0, 3)


OFFLOAD_PARAMETERS: Final = Rule(
    "offload-parameters",
    "self.offload != 'parameters' || self.zeroStage in [0, 3]",
    _offloads_parameters_at_stage_3,
    "offload: parameters needs zeroStage 3; DeepSpeed ignores it at stages 1 and 2",
    ("offload",),
)


def _counts_ranks_on_cpus_only(workers: WorkersSpec) -> bool:
    return workers.ranks_per_worker is None or workers.gpus_per_worker == 0


RANKS_ON_CPUS: Final = Rule(
    "ranks-on-cpus",
    "!has(self.ranksPerWorker) || (has(self.gpusPerWorker) && self.gpusPerWorker == 0)",
    _counts_ranks_on_cpus_only,
    "ranksPerWorker needs gpusPerWorker: 0; with GPUs there is one rank a GPU",
    ("ranksPerWorker",),
)


def _leaves_the_gang_alone(variable: EnvVar) -> bool:
    return variable.name not in _GANG_NAMES and not variable.name.startswith(_GANG_PREFIXES)


RESERVED_ENV: Final = Rule(
    "reserved-env",
    "!(self.name in ['RANK', 'LOCAL_RANK', 'WORLD_SIZE'] || self.name.startsWith('PET_') "
    "|| self.name.startsWith('MASTER_') || self.name.startsWith('LLAVA_'))",
    _leaves_the_gang_alone,
    "PET_*, MASTER_*, LLAVA_*, RANK, LOCAL_RANK and WORLD_SIZE say who is who in the gang; choose another name",
    ("name",),
)


def _has_one_value(variable: EnvVar) -> bool:
    return variable.value is None or variable.value_from is None


ONE_ENV_VALUE: Final = Rule(
    "one-env-value",
    "!has(self.value) || !has(self.valueFrom)",
    _has_one_value,
    "write value or valueFrom, not both",
    ("valueFrom",),
)


def _names_one_cache(cache: CacheVolume) -> bool:
    return [cache.empty_dir, cache.persistent_volume_claim, cache.host_path].count(None) == 2


ONE_CACHE: Final = Rule(
    "one-cache",
    "(has(self.emptyDir) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.hostPath) ? 1 : 0) == 1",
    _names_one_cache,
    "write exactly one of emptyDir, persistentVolumeClaim and hostPath; leave cache out for a folder of each pod's own",
)


def _is_s3_or_plain(storage: StorageSpec) -> bool:
    s3_only = (storage.endpoint, storage.region, storage.credentials_secret_name)
    return storage.uri.startswith("s3://") or (s3_only == (None, None, None) and not storage.path_style)


S3_SETTINGS: Final = Rule(
    "s3-settings",
    "self.uri.startsWith('s3://') || !(has(self.endpoint) || has(self.region) || has(self.credentialsSecretName) "
    "|| self.pathStyle)",
    _is_s3_or_plain,
    "endpoint, region, pathStyle and credentialsSecretName need a uri that starts with s3://",
    ("uri",),
)


def _trains_something(spec: LlavaTrainJobSpec) -> bool:
    return spec.recipe is not None or spec.pretrain is not None or spec.finetune is not None


SOMETHING_TO_TRAIN: Final = Rule(
    "something-to-train",
    "has(self.recipe) || has(self.pretrain) || has(self.finetune)",
    _trains_something,
    "nothing to train: write recipe, pretrain or finetune (LlavaEvalJob scores a model that exists)",
)


def _uses_data_root(spec: LlavaTrainJobSpec) -> bool:
    return spec.data_root is None or spec.recipe is not None


DATA_ROOT_NEEDS_RECIPE: Final = Rule(
    "data-root-needs-recipe",
    "!has(self.dataRoot) || has(self.recipe)",
    _uses_data_root,
    "dataRoot is where a recipe's data sets lie; without a recipe, write whole paths under data",
    ("dataRoot",),
)


def _says_pretrain(spec: LlavaTrainJobSpec) -> bool:
    stage = spec.pretrain
    return spec.recipe is not None or stage is None or None not in (stage.data, stage.batch_size, stage.learning_rate)


PRETRAIN_WITHOUT_RECIPE: Final = Rule(
    "pretrain-without-recipe",
    "has(self.recipe) || !has(self.pretrain) || (has(self.pretrain.data) && has(self.pretrain.batchSize) "
    "&& has(self.pretrain.learningRate))",
    _says_pretrain,
    "without a recipe, write pretrain.data, pretrain.batchSize and pretrain.learningRate",
    ("pretrain",),
)


def _says_finetune(spec: LlavaTrainJobSpec) -> bool:
    stage = spec.finetune
    return (
        spec.recipe is not None
        or stage is None
        or None not in (stage.data, stage.batch_size, stage.learning_rate, stage.llm)
    )


FINETUNE_WITHOUT_RECIPE: Final = Rule(
    "finetune-without-recipe",
    "has(self.recipe) || !has(self.finetune) || (has(self.finetune.data) && has(self.finetune.batchSize) "
    "&& has(self.finetune.learningRate) && has(self.finetune.llm))",
    _says_finetune,
    "without a recipe, write finetune.data, finetune.batchSize, finetune.learningRate and finetune.llm",
    ("finetune",),
)


def _has_settings(tuning: TuningSpec | None) -> bool:
    return tuning is None or tuning.mode not in _ADAPTER_MODES or tuning.lora is not None


def _pretrain_has_settings(spec: LlavaTrainJobSpec) -> bool:
    stage = spec.pretrain
    return spec.recipe is not None or stage is None or (_has_settings(stage.llm) and _has_settings(stage.vision_tower))


def _finetune_has_settings(spec: LlavaTrainJobSpec) -> bool:
    stage = spec.finetune
    return spec.recipe is not None or stage is None or (_has_settings(stage.llm) and _has_settings(stage.vision_tower))


_SETTINGS_CEL = (
    "has(self.recipe) || !has(self.{stage}) || "
    "((!has(self.{stage}.llm) || !(self.{stage}.llm.mode in ['lora', 'qlora']) || has(self.{stage}.llm.lora)) && "
    "(!has(self.{stage}.visionTower) || self.{stage}.visionTower.mode != 'lora' || has(self.{stage}.visionTower.lora)))"
)

PRETRAIN_LORA_SETTINGS: Final = Rule(
    "pretrain-lora-settings",
    _SETTINGS_CEL.format(stage="pretrain"),
    _pretrain_has_settings,
    "mode lora and qlora need lora settings (rank, alpha) when no recipe fills them",
    ("pretrain",),
)

FINETUNE_LORA_SETTINGS: Final = Rule(
    "finetune-lora-settings",
    _SETTINGS_CEL.format(stage="finetune"),
    _finetune_has_settings,
    "mode lora and qlora need lora settings (rank, alpha) when no recipe fills them",
    ("finetune",),
)


def _pretrains_from_scratch(spec: LlavaTrainJobSpec) -> bool:
    return spec.pretrain is None or spec.pretrain.pretrained_projector is None


PRETRAIN_STARTS_FRESH: Final = Rule(
    "pretrain-starts-fresh",
    "!has(self.pretrain) || !has(self.pretrain.pretrainedProjector)",
    _pretrains_from_scratch,
    "pretrain makes the projector and cannot start from one; write pretrainedProjector under finetune",
    ("pretrain", "pretrainedProjector"),
)


def _evaluates_an_export(spec: LlavaTrainJobSpec) -> bool:
    return spec.evaluate is None or spec.convert is not None or spec.recipe is not None


EVALUATE_NEEDS_CONVERT: Final = Rule(
    "evaluate-needs-convert",
    "!has(self.evaluate) || has(self.convert) || has(self.recipe)",
    _evaluates_an_export,
    "evaluate scores the exported model: write convert: {} too",
    ("evaluate",),
)


def _uses_fp16_on_gpus(spec: LlavaTrainJobSpec) -> bool:
    stages = [stage for stage in (spec.pretrain, spec.finetune) if stage is not None]
    return spec.workers.gpus_per_worker != 0 or all(stage.precision != "fp16" for stage in stages)


FP16_NEEDS_GPUS: Final = Rule(
    "fp16-needs-gpus",
    "!has(self.workers) || !has(self.workers.gpusPerWorker) || self.workers.gpusPerWorker != 0 || "
    "((!has(self.pretrain) || !has(self.pretrain.precision) || self.pretrain.precision != 'fp16') && "
    "(!has(self.finetune) || !has(self.finetune.precision) || self.finetune.precision != 'fp16'))",
    _uses_fp16_on_gpus,
    "precision fp16 needs GPUs; use bf16 or fp32 with gpusPerWorker: 0",
    ("workers", "gpusPerWorker"),
)
