"""What users see of a job on a real API server: columns, conditions, selectors, descriptions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the operator extra is not installed: make init")
from kubernetes import client as kubernetes

from llava_contract.run import Stage
from support.eventually import eventually
from support.jobs import result
from support.kubectl import Kubectl
from support.puppets import Puppets, asked, success
from support.replicas import start_replica

AT_ONCE_S = 2.0
BASIC = ("STAGE", "STATE", "PROGRESS", "LOSS", "ETA", "SCORE", "RESTARTS")


@pytest.fixture(scope="module")
def operated(shared_namespace: str, kubeflow: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: ARG001
    """A namespace with an operator at work."""
    replica = start_replica("a", shared_namespace, folder=tmp_path_factory.mktemp("operator"))
    try:
        yield shared_namespace
    finally:
        replica.end()
        print(replica.log_file.read_text()[-8000:])


@pytest.fixture
def world(client: Any, operated: str) -> Puppets:
    """A job of its own name, to be created."""
    return Puppets(client, operated, name=f"job-{uuid.uuid4().hex[:6]}")


def shown(world: Puppets) -> tuple[Any, ...]:
    row = world.row()
    return tuple(row[name] for name in ("STAGE", "STATE", "REASON"))


def becomes(world: Puppets, *want: str | None, within_s: float = 30.0) -> None:
    seen: list[tuple[Any, ...]] = []

    def is_shown() -> bool:
        seen.append(shown(world))
        return seen[-1] == want

    try:
        eventually(is_shown, within_s=within_s)
    finally:
        print(want, list(dict.fromkeys(seen)))


def is_seen(world: Puppets, generation: int) -> None:
    """Wait the 2 s that an edit may take until status and all conditions speak of it."""

    def speaks_of_it() -> bool:
        status = world.status()
        told = [one["observedGeneration"] for one in status.get("conditions", ())]
        return bool(told) and {status["observedGeneration"], *told} == {generation}

    eventually(speaks_of_it, within_s=AT_ONCE_S)


def test_columns_tell_a_whole_life(world: Puppets) -> None:
    world.create()
    child = world.gang("prepare")
    becomes(world, "prepare", "Pending", "Unschedulable")
    world.waits(child, "ImagePullBackOff", "no such image")
    becomes(world, "prepare", "Pending", "ImagePullBackOff")
    world.succeeds("prepare")
    first = world.gang("pretrain")
    assert shown(world)[:2] == ("pretrain", "Pending")
    world.runs(first)
    becomes(world, "pretrain", "Running", "Running")
    world.ends(first, result(Stage.PRETRAIN, exit_code=75, message="NCCL"))
    world.succeeds("pretrain", attempt=2)
    for stage in ("finetune", "convert", "evaluate"):
        world.succeeds(stage)
    becomes(world, "evaluate", "Succeeded", "Succeeded")
    told = [event["reason"] for event in world.events()]
    assert sorted(told) == ["AttemptFailed", "AttemptStarted", *["StageSucceeded"] * 5, "Succeeded"]
    assert [world.row()[name] for name in BASIC] == ["evaluate", "Succeeded", None, None, None, "87.5", 1]


def test_an_edit_is_seen_at_every_moment(world: Puppets) -> None:
    world.create(spec__evaluate="(absent)", spec__convert="(absent)", spec__finetune="(absent)")
    child = world.gang("prepare")
    is_seen(world, world.edit({"runPolicy": {"maxRestarts": 4}}))
    world.runs(child)
    becomes(world, "prepare", "Running", "Running")
    is_seen(world, world.edit({"pretrain": {"learningRate": 0.5}}))
    assert shown(world) == ("prepare", "Running", "Running")
    is_seen(world, world.edit({"runPolicy": {"suspend": True}}))
    becomes(world, "prepare", "Suspended", "Suspended")
    is_seen(world, world.edit({"runPolicy": {"maxRestarts": 5}}))
    is_seen(world, world.edit({"runPolicy": {"suspend": False}}))
    world.succeeds("prepare", attempt=2)
    world.succeeds("pretrain")
    becomes(world, "pretrain", "Succeeded", "Succeeded")
    is_seen(world, world.edit({"convert": {}}))
    assert "edited afterwards" in world.condition("Ready")["message"]
    assert shown(world) == ("pretrain", "Succeeded", "Succeeded")


@pytest.mark.parametrize(("code", "condition"), [(0, "Ready"), (12, "Failed")])
def test_kubectl_waits_for_an_end(world: Puppets, code: int, condition: str) -> None:
    world.create(spec__evaluate="(absent)", spec__convert="(absent)", spec__finetune="(absent)")
    child = world.gang("prepare")
    world.runs(child)
    if code:
        world.ends(child, result(Stage.PREPARE, exit_code=code, message="a.json row 7: no image"))
    else:
        world.ends(child, success("prepare"))
        world.succeeds("pretrain")
    Kubectl(world.namespace).wait(f"ltj/{world.name}", condition, within_s=30)
    assert world.said(condition)[0] == "True"


def test_a_recipe_that_does_not_exist_becomes_a_condition_until_it_is_mended(world: Puppets) -> None:
    world.create(spec__recipe="internlm2-7b-qlor")
    eventually(lambda: world.said("Failed") == ("True", "SpecRefused"))
    assert "did you mean internlm2-7b-qlora" in world.condition("Failed")["message"]
    assert world.name in world.chosen("status.phase=Failed")
    is_seen(world, world.edit({"recipe": None}))
    eventually(lambda: shown(world)[:2] == ("prepare", "Pending"), within_s=AT_ONCE_S)
    assert world.said("Failed") == ("False", "GoesOn")


def test_what_a_mended_spec_said_is_told_once(world: Puppets) -> None:
    world.create(spec__recipe="no-such-recipe")
    eventually(lambda: world.said("Failed")[0] == "True")
    is_seen(world, world.edit({"recipe": "nor-this-one"}))
    eventually(lambda: len(world.events()) == 1)
    (event,) = world.events()
    assert (event["reason"], event["type"]) == ("SpecRefused", "Warning")


@pytest.mark.parametrize(
    ("selector", "found"),
    [("spec.recipe=internlm2-7b-qlora", True), ("status.currentStage=", True), ("status.phase=Failed", False)],
)
def test_fields_that_can_be_selected(client: Any, namespace: str, selector: str, found: bool) -> None:
    puppets = Puppets(client, namespace)
    puppets.create(spec__recipe="internlm2-7b-qlora")
    assert puppets.chosen(selector) == (["demo"] if found else [])


def test_applying_twice_changes_nothing(world: Puppets) -> None:
    world.apply()
    world.gang("prepare")
    becomes(world, "prepare", "Pending", "Unschedulable")
    again = world.apply()
    assert (again["metadata"]["generation"], again["status"]["observedGeneration"]) == (1, 1)


def test_a_users_status_is_ignored(client: Any, namespace: str) -> None:
    puppets = Puppets(client, namespace)
    puppets.create(status={"phase": "Succeeded"})
    assert "status" not in puppets.job()
    puppets.replace({**puppets.job(), "status": {"phase": "Succeeded"}})
    assert "status" not in puppets.job()


EDITS: dict[str, dict[str, Any]] = {
    "storage.uri": {"storage": {"uri": "s3://elsewhere/demo"}},
    "model": {"model": {"promptTemplate": "llama3_chat"}},
    "recipe": {"recipe": "internlm2-7b-qlora"},
}


@pytest.mark.parametrize("field", EDITS)
def test_what_a_stage_was_made_with_stays_once_it_is_done(client: Any, namespace: str, field: str) -> None:
    puppets = Puppets(client, namespace)
    puppets.create()
    puppets.write_status({"stages": [{"name": "prepare", "state": "Succeeded"}]})
    with pytest.raises(kubernetes.ApiException, match=f"spec.{field}: .*create another job"):
        puppets.edit(EDITS[field])
    assert puppets.edit({"finetune": {"learningRate": 0.5}}) == 2


@pytest.mark.parametrize("field", EDITS)
def test_everything_may_be_mended_before(client: Any, namespace: str, field: str) -> None:
    puppets = Puppets(client, namespace)
    puppets.create()
    puppets.write_status({"stages": [{"name": "prepare", "state": "Running"}]})
    assert puppets.edit(EDITS[field]) == 2


def nodes(schema: dict[str, Any], schemas: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk over every field of ours that `kubectl explain --recursive` prints."""
    for name, inner in schema.get("properties", {}).items():
        if f"{path}.{name}" != ".metadata":
            yield f"{path}.{name}", inner
            yield from nodes(inner, schemas, f"{path}.{name}")
            yield from nodes(inner.get("items", {}), schemas, f"{path}.{name}[]")


@pytest.mark.parametrize("kind", ["LlavaTrainJob", "LlavaEvalJob"])
def test_explain_leaves_no_field_without_a_description(client: Any, crds: None, kind: str) -> None:  # noqa: ARG001
    def document() -> dict[str, Any]:
        return dict(asked(client, "/openapi/v3/apis/llava.dev/v1alpha1")["components"]["schemas"])

    name = f"dev.llava.v1alpha1.{kind}"
    eventually(lambda: name in document())
    fields = dict(nodes(document()[name], document()))
    assert (len(fields) > 100, [path for path, node in fields.items() if not node.get("description")]) == (True, [])


def test_both_kinds_are_in_one_category(client: Any, crds: None) -> None:  # noqa: ARG001
    found = asked(client, "/apis/llava.dev/v1alpha1")["resources"]
    named = {one["kind"]: (one["shortNames"], one["categories"]) for one in found if "/" not in one["name"]}
    assert named == {"LlavaTrainJob": (["ltj"], ["llava"]), "LlavaEvalJob": (["lej"], ["llava"])}
