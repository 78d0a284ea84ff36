"""Which models are refused: how they are named, what they are made of, and where their projector comes from.

Like rules.py, each rule as CEL and as a predicate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llava_contract.rule import Rule

if TYPE_CHECKING:
    from llava_contract.v1alpha1.model import ExportedModel, ModelSpec
    from llava_contract.v1alpha1.trainjob import LlavaTrainJob, LlavaTrainJobSpec


def _names_one_model(model: ExportedModel) -> bool:
    return (model.train_job_name is None) != (model.uri is None)


ONE_MODEL: Final = Rule(
    "one-model",
    "has(self.trainJobName) != has(self.uri)",
    _names_one_model,
    "write exactly one of trainJobName and uri",
)


def _is_s3_or_needs_no_server(model: ExportedModel) -> bool:
    return (model.uri or "").startswith("s3://") or not model.names_server


MODEL_S3_SETTINGS: Final = Rule(
    "model-s3-settings",
    "(has(self.uri) && self.uri.startsWith('s3://')) || !(has(self.endpoint) || has(self.region) "
    "|| has(self.credentialsSecretName) || self.pathStyle)",
    _is_s3_or_needs_no_server,
    "endpoint, region, pathStyle and credentialsSecretName need a uri that starts with s3://; "
    "the model of a trainJobName is read with the settings of that job's storage",
    ("uri",),
)


def _leaves_parts_to_the_model(model: ModelSpec) -> bool:
    return model.from_model is None or (model.llm, model.vision_tower) == (None, None)


FROM_BRINGS_PARTS: Final = Rule(
    "from-brings-parts",
    "!has(self.from) || !(has(self.llm) || has(self.visionTower))",
    _leaves_parts_to_the_model,
    "from brings the LLM and the vision tower of its model; remove llm and visionTower, or from",
    ("from",),
)


def _starts_from_another(job: LlavaTrainJob) -> bool:
    given = job.spec.model.from_model
    return given is None or given.train_job_name is None or given.train_job_name != job.name


FROM_ANOTHER_JOB: Final = Rule(
    "from-another-job",
    "!has(self.spec.model) || !has(self.spec.model.from) || !has(self.spec.model.from.trainJobName) "
    "|| self.spec.model.from.trainJobName != self.metadata.name",
    _starts_from_another,
    "a job cannot start from the model that it makes itself; name another job",
    ("spec", "model", "from", "trainJobName"),
)


def _says_model(spec: LlavaTrainJobSpec) -> bool:
    model = spec.model
    parts = (model.llm, model.vision_tower) if model.from_model is None else ()
    return spec.recipe is not None or None not in (*parts, model.prompt_template)


MODEL_WITHOUT_RECIPE: Final = Rule(
    "model-without-recipe",
    "has(self.recipe) || (has(self.model) && has(self.model.promptTemplate) "
    "&& (has(self.model.from) || (has(self.model.llm) && has(self.model.visionTower))))",
    _says_model,
    "without a recipe, write model.promptTemplate, and model.llm with model.visionTower or model.from",
    ("model",),
)


def _finetunes_from_a_projector(spec: LlavaTrainJobSpec) -> bool:
    if spec.finetune is None or spec.pretrain is not None or spec.recipe is not None:
        return True
    return spec.finetune.pretrained_projector is not None or spec.model.from_model is not None


FINETUNE_NEEDS_PROJECTOR: Final = Rule(
    "finetune-needs-projector",
    "!has(self.finetune) || has(self.pretrain) || has(self.recipe) || has(self.finetune.pretrainedProjector) "
    "|| (has(self.model) && has(self.model.from))",
    _finetunes_from_a_projector,
    "finetune starts from a trained projector: write pretrain, finetune.pretrainedProjector or model.from",
    ("finetune",),
)


def _has_one_projector(spec: LlavaTrainJobSpec) -> bool:
    is_brought = spec.pretrain is not None or spec.model.from_model is not None
    return not is_brought or spec.finetune is None or spec.finetune.pretrained_projector is None


ONE_PROJECTOR: Final = Rule(
    "one-projector",
    "!has(self.finetune) || !has(self.finetune.pretrainedProjector) "
    "|| !(has(self.pretrain) || (has(self.model) && has(self.model.from)))",
    _has_one_projector,
    "finetune starts from the projector of this job's own pretrain or of model.from; remove pretrainedProjector, "
    "or those",
    ("finetune", "pretrainedProjector"),
)


def _exports_a_known_projector(spec: LlavaTrainJobSpec) -> bool:
    return spec.convert is None or spec.model.projector_depth in (None, 2)


CONVERT_NEEDS_DEPTH_2: Final = Rule(
    "convert-needs-depth-2",
    "!has(self.convert) || !has(self.model) || !has(self.model.projectorDepth) || self.model.projectorDepth == 2",
    _exports_a_known_projector,
    "the huggingface format holds projectors of depth 2 only: write projectorDepth: 2, or leave convert out",
    ("model", "projectorDepth"),
)
