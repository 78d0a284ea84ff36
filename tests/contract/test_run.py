"""RunConfig: what an attempt is told, to the last field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llava_contract.run import RunConfig
from support.specs import changed

CONFIG: dict[str, Any] = {
    "version": "v1alpha1",
    "job": {"kind": "LlavaTrainJob", "namespace": "team", "name": "demo", "uid": "0b9a"},
    "stage": "prepare",
    "attempt": 1,
    "numRanks": 1,
    "storage": {"uri": "file:///runs/demo"},
    "hangTimeoutSeconds": 1800,
    "task": {
        "kind": "prepare",
        "model": {
            "llm": "hf://org/llm",
            "visionTower": "hf://org/clip",
            "promptTemplate": "vicuna",
            "projectorDepth": 2,
            "visionFeatureLayer": -2,
        },
        "sets": [
            {
                "stage": "pretrain",
                "data": [{"annotations": "a.json"}],
                "maxLength": 1472,
                "padToSquare": False,
                "globalBatch": 8,
                "heldOut": 0.0,
                "sampleImages": [],
            },
        ],
        "onBadRow": "fail",
        "maxBadFraction": 0.01,
        "benchmarks": [],
    },
}


def test_a_run_survives_its_file() -> None:
    config = RunConfig.model_validate(CONFIG)
    assert RunConfig.model_validate_json(config.model_dump_json(indent=2)) == config


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"flavour": "x"}, "flavour"),
        ({"task.flavour": "x"}, "task.prepare.flavour"),
        ({"version": "v2"}, "version"),
        ({"attempt": 0}, "attempt"),
        ({"numRanks": 0}, "numRanks"),
        ({"stage": "deploy"}, "stage"),
        ({"task.kind": "deploy"}, "task"),
        ({"task.onBadRow": "(absent)"}, "task.prepare.onBadRow"),
    ],
)
def test_a_run_that_is_not_understood_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(changed(CONFIG, change))
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [where]
