"""Job bodies for contract tests: two good ones, and a copy with some fields changed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

ABSENT = "(absent)"
"""As a new value: leave the field out."""

_STAGE: dict[str, Any] = {
    "data": [{"annotations": "data/rows.json", "images": "data/images"}],
    "batchSize": 4,
    "learningRate": 0.001,
}

PLAIN: dict[str, Any] = {
    "apiVersion": "llava.dev/v1alpha1",
    "kind": "LlavaTrainJob",
    "metadata": {"name": "demo"},
    "spec": {
        "model": {"llm": {"uri": "hf://org/llm"}, "visionTower": {"uri": "towers/clip"}, "promptTemplate": "vicuna"},
        "storage": {"uri": "runs/demo"},
        "pretrain": _STAGE,
        "finetune": {**_STAGE, "llm": {"mode": "lora", "lora": {"rank": 8, "alpha": 16}}},
        "convert": {},
        "evaluate": {"benchmarks": [{"name": "shapes", "uri": "data/shapes.tsv"}]},
        "workers": {"gpusPerWorker": 0, "ranksPerWorker": 2},
    },
}
"""A job that says everything itself."""

RECIPE: dict[str, Any] = {
    "apiVersion": "llava.dev/v1alpha1",
    "kind": "LlavaTrainJob",
    "metadata": {"name": "demo"},
    "spec": {"recipe": "internlm2-7b-qlora", "dataRoot": "pvc://datasets/", "storage": {"uri": "s3://bucket/demo"}},
}
"""A job that leaves nearly everything to a recipe."""

EVAL: dict[str, Any] = {
    "apiVersion": "llava.dev/v1alpha1",
    "kind": "LlavaEvalJob",
    "metadata": {"name": "scores"},
    "spec": {
        "model": {"trainJobName": "demo"},
        "storage": {"uri": "s3://bucket/scores"},
        "evaluate": {"benchmarks": [{"name": "mmbench", "uri": "hf://org/mmbench/dev.tsv"}]},
    },
}
"""A job that scores."""

BASES = {"plain": PLAIN, "recipe": RECIPE, "eval": EVAL}


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with new values at dotted paths; folders on the way are made, ABSENT leaves a field out."""
    copy = deepcopy(body)
    for path, value in changes.items():
        *way, last = path.split(".")
        node = copy
        for key in way:
            node = node.setdefault(key, {})
        if value == ABSENT:
            node.pop(last, None)
        else:
            node[last] = deepcopy(value)
    return copy


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Fill in a schema's defaults as the API server does before it looks at rules."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        defaults = {key: deepcopy(inner["default"]) for key, inner in properties.items() if "default" in inner}
        return {key: with_defaults(properties.get(key, {}), inner) for key, inner in {**defaults, **value}.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), inner) for inner in value]
    return value
