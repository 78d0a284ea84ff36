"""What of a body is kept in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_operator.trimmed import trimmed
from support.pods import pod, pytorch_job

META = {"name": "x", "uid": "u", "managedFields": ["much"], "annotations": {"a": "b"}}


@pytest.mark.parametrize(("plural", "is_kept"), [("pods", False), ("pytorchjobs", False), ("llavatrainjobs", True)])
def test_annotations_are_kept_of_users_resources_alone(plural: str, is_kept: bool) -> None:
    assert ("annotations" in trimmed(plural, {"metadata": META})["metadata"]) is is_kept


@pytest.mark.parametrize("plural", ["pods", "pytorchjobs", "llavatrainjobs"])
def test_who_manages_which_field_is_not_kept(plural: str) -> None:
    assert "managedFields" not in trimmed(plural, {"metadata": META})["metadata"]


def test_a_pods_status_is_kept_whole() -> None:
    body = pod(0).running().body()
    assert trimmed("pods", body)["status"] == body["status"]


@pytest.mark.parametrize(
    ("plural", "spec", "want"),
    [
        ("pods", {"nodeName": "n", "containers": ["much"]}, {"nodeName": "n"}),
        (
            "pytorchjobs",
            {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": {"Worker": {"replicas": 2, "template": "much"}}},
            {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": {"Worker": {"replicas": 2}}},
        ),
        ("llavatrainjobs", {"model": {"llm": {}}}, {"model": {"llm": {}}}),
    ],
)
def test_of_a_spec_stays_what_is_read(plural: str, spec: dict[str, Any], want: dict[str, Any]) -> None:
    assert trimmed(plural, {"metadata": META, "spec": spec})["spec"] == want


def test_equal_words_of_two_bodies_are_one_object() -> None:
    one, two = (trimmed("pods", json.loads(json.dumps(pod(0).running().body()))) for _ in range(2))
    assert one["status"]["phase"] is two["status"]["phase"]


def test_what_was_given_is_not_changed() -> None:
    body = pytorch_job()
    before = json.dumps(body)
    trimmed("pytorchjobs", body)
    assert json.dumps(body) == before
