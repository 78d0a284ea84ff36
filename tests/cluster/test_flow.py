"""The product on real nodes: kubectl apply of the example, the real trainer, S3 in the cluster, faults on the way.

Two jobs of one recipe run side by side. One is left alone: the example file, to the letter, one pod of two ranks. The
other trains in two pods on two nodes, is suspended in pretrain and loses a rank in finetune. Both have to learn the
same weights.
"""

from __future__ import annotations

import copy
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import images
from support.eventually import eventually
from support.kubectl import Kubectl
from support.replicas import start_replica
from support.scripted_jobs import apart
from support.tree import ROOT

EXAMPLE = ROOT / "examples/tiny/llava-finetune.yaml"
EVALUATION = ROOT / "examples/tiny/llava-eval.yaml"
WHOLE_JOB_S = 900
LOOK_S = 2.0
"""Each look starts a kubectl, and the cores have a model to train."""
STAGES = ("prepare", "pretrain", "finetune", "convert", "evaluate")
KILL_A_RANK = (
    "for p in /proc/[0-9]*; do "
    "if tr '\\0' ' ' < $p/cmdline | grep -q '[-]m llava_trainer /etc/llava'; then kill -9 ${p#/proc/}; fi; done"
)


@dataclass
class Flow:
    """What a user sees and does."""

    kubectl: Kubectl
    logs: dict[str, str] = field(default_factory=dict)
    """What pods said that are gone now."""

    def job(self, name: str) -> Any:
        return self.kubectl.json("get", "ltj", name)

    def stage(self, job: str, stage: str) -> Any:
        found = self.job(job).get("status", {}).get("stages", [])
        return next((one for one in found if one["name"] == stage), {})

    def pods(self, job: str, stage: str) -> list[Any]:
        chosen = f"llava.dev/job-name={job},llava.dev/stage={stage}"
        return list(self.kubectl.json("get", "pods", "--selector", chosen)["items"])

    def log(self, job: str, stage: str, *, attempt: int = 1) -> str:
        """What the first pod of an attempt said so far; remembered when the pod goes."""
        chosen = f"llava.dev/job-name={job},llava.dev/stage={stage},llava.dev/attempt={attempt}"
        pods = self.kubectl.json("get", "pods", "--selector", chosen)["items"]
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))[:1]:
            said = self.kubectl.tried("logs", pod["metadata"]["name"], "--container", "pytorch").stdout
            self.logs[chosen] = said or self.logs.get(chosen, "")
        return self.logs.get(chosen, "")

    def suspend(self, job: str, value: bool) -> None:
        patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
        self.kubectl("patch", "ltj", job, "--type=merge", f"--patch={patch}")


@pytest.fixture(scope="module")
def flow(shared_namespace: str, nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:  # noqa: ARG001
    """Both jobs, ended."""
    kubectl = Kubectl(shared_namespace)
    kubectl("apply", "--filename", str(ROOT / "examples/s3/seaweedfs.yaml"))
    kubectl("rollout", "status", "deployment/llava-s3", "--timeout=120s")
    folder = tmp_path_factory.mktemp("operator")
    operator = start_replica("flow", shared_namespace, folder=folder, LLAVA_TRAINER_IMAGE=images.TRAINER)
    try:
        flow = Flow(kubectl)
        kubectl("apply", "--filename", str(EVALUATION))
        kubectl("apply", "--filename", str(EXAMPLE))
        kubectl("apply", "--filename", "-", said=rough_job())
        suspend_and_resume(flow)
        lose_a_rank(flow)
        for job in ("rough", "tiny"):
            kubectl.wait(f"ltj/{job}", "Ready", within_s=WHOLE_JOB_S)
        kubectl.wait("lej/tiny-scores", "Ready", within_s=WHOLE_JOB_S)
        yield flow
    finally:
        operator.end()
        print(operator.log_file.read_text()[-8000:])  # shown when a test fails
        print(kubectl.tried("get", "ltj,pytorchjobs,pods,events").stdout[-8000:])


@dataclass(frozen=True)
class Bucket:
    """What lies in the S3 server of the namespace."""

    client: Any

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def weights(self, checkpoint: str) -> dict[str, str]:
        """SHA-256 of each file of weights in a checkpoint."""
        files = json.loads(self.read(f"{checkpoint}/MANIFEST.json"))["files"]
        found = {file["name"]: file["sha256"] for file in files if file["name"].endswith(".safetensors")}
        assert found, f"{checkpoint} holds no weights"
        return found


@pytest.fixture(scope="module")
def bucket(flow: Flow) -> Iterator[Bucket]:
    boto3 = pytest.importorskip("boto3")
    secret = flow.kubectl.json("get", "secret", "llava-s3")["data"]
    key, word = (b64decode(secret[name]).decode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    with flow.kubectl.forwarded("service/llava-s3", 8333) as address:
        yield Bucket(
            boto3.client(
                "s3", endpoint_url=f"http://{address}", region_name="us-east-1",
                aws_access_key_id=key, aws_secret_access_key=word,
            )
        )  # fmt: skip


def rough_job() -> str:
    body = copy.deepcopy(yaml.safe_load(EXAMPLE.read_text()))
    body["metadata"]["name"] = "rough"
    body["spec"]["storage"]["uri"] += "-rough"
    body["spec"]["workers"] |= {"replicas": 2, "ranksPerWorker": 1, "podTemplate": {"affinity": apart("rough")}}
    return yaml.safe_dump(body)


def suspend_and_resume(flow: Flow) -> None:
    eventually(
        lambda: "checkpoint of step 60 committed" in flow.log("rough", "pretrain"), within_s=WHOLE_JOB_S, every_s=LOOK_S
    )
    flow.suspend("rough", True)
    eventually(lambda: flow.job("rough")["status"]["phase"] == "Suspended", every_s=LOOK_S)
    eventually(lambda: flow.pods("rough", "pretrain") == [], within_s=150, every_s=LOOK_S)
    flow.suspend("rough", False)


def lose_a_rank(flow: Flow) -> None:
    eventually(
        lambda: "checkpoint of step 60 committed" in flow.log("rough", "finetune"), within_s=WHOLE_JOB_S, every_s=LOOK_S
    )
    victim = flow.pods("rough", "finetune")[-1]["metadata"]["name"]
    flow.kubectl("exec", victim, "--container", "pytorch", "--", "sh", "-c", KILL_A_RANK)
    eventually(lambda: flow.stage("rough", "finetune").get("restarts") == 1, within_s=60, every_s=LOOK_S)


def test_the_example_succeeds_on_a_cluster_as_it_is(flow: Flow) -> None:
    status = flow.job("tiny")["status"]
    assert (status["phase"], status["restarts"]) == ("Succeeded", 0)
    assert {stage["name"]: stage["state"] for stage in status["stages"]} == dict.fromkeys(STAGES, "Succeeded")


def test_it_scores_as_on_one_machine(flow: Flow) -> None:
    assert flow.job("tiny")["status"]["results"]["mmbench-tiny/vlmevalkit/circular"] >= 0.85


def test_an_evaluation_that_was_there_first_scores_the_same(flow: Flow) -> None:
    scores = flow.kubectl.json("get", "lej", "tiny-scores")["status"]["results"]
    assert scores == flow.job("tiny")["status"]["results"]


def test_the_gang_of_two_pods_ran_on_two_nodes(flow: Flow) -> None:
    pods = flow.pods("rough", "finetune")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2


def test_a_lost_rank_costs_one_restart_and_nothing_else(flow: Flow) -> None:
    status = flow.job("rough")["status"]
    history = [record["reason"] for record in flow.stage("rough", "finetune")["history"]]
    assert (status["phase"], status["restarts"], status["budgetUsed"], history) == ("Succeeded", 2, 1, ["Killed"])


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_second_attempt_goes_on_from_the_first_ones_checkpoint(flow: Flow, stage: str) -> None:
    assert "going on from step" in flow.log("rough", stage, attempt=2)


def test_suspension_was_not_charged(flow: Flow) -> None:
    assert flow.stage("rough", "pretrain")["attempt"] == 2
    assert "history" not in flow.stage("rough", "pretrain")


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_faults_changed_no_weight(flow: Flow, bucket: Bucket, stage: str) -> None:
    calm, rough = (bucket.weights(flow.stage(job, stage)["checkpoint"]["uri"]) for job in ("tiny", "rough"))
    assert calm == rough


def test_the_report_is_in_the_bucket(flow: Flow, bucket: Bucket) -> None:
    page = bucket.read(flow.job("tiny")["status"]["artifacts"]["report"])
    assert b"mmbench-tiny" in page


def test_no_pod_of_an_ended_job_is_alive(flow: Flow) -> None:
    phases = {pod["status"]["phase"] for job in ("tiny", "rough") for stage in STAGES for pod in flow.pods(job, stage)}
    assert phases <= {"Succeeded", "Failed"}


def test_pods_hold_no_credentials_of_the_cluster(flow: Flow) -> None:
    mounts = [
        mount["mountPath"]
        for pod in flow.pods("tiny", "evaluate")
        for container in pod["spec"]["containers"]
        for mount in container["volumeMounts"]
    ]
    assert mounts
    assert not any(Path(mount).is_relative_to("/var/run/secrets") for mount in mounts)
