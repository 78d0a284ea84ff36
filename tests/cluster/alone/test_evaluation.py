"""An evaluation beside a training job of the same name, on a real API server: woken by it, and not ended by its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llava_contract.result import StageResult
from llava_contract.run import JobKind
from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.backends.pytorchjob import PyTorchJobBackend
from llava_operator.backends.rendering import PodSettings
from llava_operator.cluster_resources import ClusterResources
from llava_operator.core.decision import StartAttempt
from llava_operator.core.job import Key
from llava_operator.reconcile import reconcile
from support.eventually import eventually
from support.jobs import NOON
from support.kinds import NEW_KINDS_S
from support.kubectl import Kubectl
from support.replicas import start_replica
from support.specs import EVAL, PLAIN, changed

kubernetes = pytest.importorskip("kubernetes")
kube = pytest.importorskip("llava_operator.kube")

pytestmark = pytest.mark.usefixtures("kubeflow")
MODEL = "s3://bucket/demo/models/huggingface"
# No kubelet may have an opinion about pods whose status the test writes.
CPUS = {"gpusPerWorker": 0, "podTemplate": {"nodeSelector": {"llava.dev/test": "no-such-node"}}}
STORAGE = {"uri": "s3://bucket/demo", "endpoint": "http://theirs:9000", "credentialsSecretName": "theirs"}
SAID = StageResult(
    stage="evaluate", attempt=1, exit_code=0, reason="Succeeded",
    results={"mmbench/vlmevalkit/circular": 0.5, "mmbench/xtuner/circular": 0.25},
    artifacts={"scores": "s3://bucket/scores/evaluations/scores.json", "report": "s3://bucket/scores/report.html"},
)  # fmt: skip


@dataclass
class Evaluation:
    """Evaluation `demo` of training job `demo`; `seen` is what the API server said at each moment of its life."""

    client: Any
    namespace: str
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def objects(self) -> Any:
        return kubernetes.client.CustomObjectsApi(self.client)

    def create(self, plural: str, body: dict[str, Any]) -> None:
        self.objects.create_namespaced_custom_object("llava.dev", "v1alpha1", self.namespace, plural, body)

    def job(self, plural: str = "llavaevaljobs") -> Any:
        return self.objects.get_namespaced_custom_object("llava.dev", "v1alpha1", self.namespace, plural, "demo")

    def reason(self) -> str:
        """Give the reason of Ready."""
        conditions = self.job().get("status", {}).get("conditions", ())
        return next((str(one["reason"]) for one in conditions if one["type"] == "Ready"), "")

    def gangs(self) -> list[Any]:
        where = ("kubeflow.org", "v1", self.namespace, "pytorchjobs")
        return list(self.objects.list_namespaced_custom_object(*where)["items"])

    def note(self, moment: str) -> None:
        """Keep what there is now."""
        self.seen[moment] = {"status": self.job()["status"], "gangs": self.gangs()}

    def export(self, model: str) -> None:
        """Let the training job have a model."""
        where = ("llava.dev", "v1alpha1", self.namespace, "llavatrainjobs", "demo")
        self.objects.patch_namespaced_custom_object_status(*where, {"status": {"artifacts": {"huggingface": model}}})

    def say_of_pod(self, status: dict[str, Any]) -> None:
        """Make the gang's only pod, if no Training Operator has, and write its status."""
        api, (gang,) = kubernetes.client.CoreV1Api(self.client), self.gangs()
        child, template = gang["metadata"]["name"], gang["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        marks = {"training.kubeflow.org/job-name": child, "training.kubeflow.org/replica-index": "0"}
        meta = {"name": f"{child}-worker-0", "labels": {**template["metadata"]["labels"], **marks}}
        try:
            api.create_namespaced_pod(self.namespace, {"metadata": meta, "spec": template["spec"]})
        except kubernetes.client.ApiException as error:
            if error.status != 409:
                raise
        api.patch_namespaced_pod_status(meta["name"], self.namespace, {"status": status})

    def until(self, moment: str, holds: Callable[[], bool]) -> None:
        """Wait less long than a resync takes, then note the moment."""
        eventually(holds, within_s=60)
        self.note(moment)


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "pytorch", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}


def live(one: Evaluation) -> None:
    """Go through a whole life, with the training job deleted while the evaluation runs."""
    one.create("llavaevaljobs", changed(EVAL, {"metadata.name": "demo", "spec.workers": CPUS}))
    one.until("alone", lambda: one.reason() == "ModelNotFound")
    held = {"spec.storage": STORAGE, "spec.workers": CPUS, "spec.runPolicy": {"suspend": True}}
    one.create("llavatrainjobs", changed(PLAIN, held))
    one.until("beside", lambda: one.reason() == "ModelNotReady" and "status" in one.job("llavatrainjobs"))
    one.export(MODEL)
    one.until("begun", lambda: len(one.gangs()) == 1)
    started = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
    one.say_of_pod({"phase": "Running", "containerStatuses": [container(started)]})
    one.until("running", lambda: one.job()["status"]["phase"] == "Running")
    where = ("llava.dev", "v1alpha1", one.namespace, "llavatrainjobs", "demo")
    one.objects.delete_namespaced_custom_object(*where)
    told = {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-03-01T12:09:00Z"}
    ended = {"terminated": {**told, "message": SAID.to_message().decode()}}
    one.say_of_pod({"phase": "Succeeded", "containerStatuses": [container(ended)]})
    one.until("done", lambda: one.job()["status"]["phase"] == "Succeeded")


def test_a_deleted_evaluation_takes_everything_along(namespace: str) -> None:
    cluster, key = kube.connect(), Key(JobKind.EVAL, namespace, "demo")
    change = {"spec.model": {"uri": "/models/a"}, "spec.workers": CPUS}
    made = cluster.create(
        "llavaevaljobs", changed(EVAL, {"metadata": {"name": "demo", "namespace": namespace}, **change})
    )
    backend = PyTorchJobBackend(
        cluster, namespace, settings=PodSettings(image="trainer:test"), warnings=PodWarnings(cluster, time.monotonic)
    )
    assert isinstance(reconcile(key, ClusterResources(cluster), backend=backend, now=NOON), StartAttempt)
    uid = made["metadata"]["uid"]
    assert cluster.list_owned("pytorchjobs", namespace, owner_uid=uid)
    cluster.delete("llavaevaljobs", namespace, name="demo", uid=uid)
    kinds = ("configmaps", "pytorchjobs", "pods")
    eventually(
        lambda: not any(cluster.list_owned(kind, namespace, owner_uid=uid) for kind in kinds), within_s=NEW_KINDS_S
    )


@pytest.fixture(scope="module")
def lived(client: Any, shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluation]:
    one = Evaluation(client, shared_namespace)
    replica = start_replica("a", shared_namespace, folder=tmp_path_factory.mktemp("operator"))
    try:
        live(one)
        yield one
    finally:
        replica.end()


def test_it_waits_for_a_job_that_is_not_there(lived: Evaluation) -> None:
    assert (lived.seen["alone"]["status"]["phase"], lived.seen["alone"]["gangs"]) == ("Pending", [])


def test_it_waits_for_a_model_that_is_not_there(lived: Evaluation) -> None:
    assert (lived.seen["beside"]["status"]["phase"], lived.seen["beside"]["gangs"]) == ("Pending", [])


def test_it_owns_one_gang(lived: Evaluation) -> None:
    (gang,) = lived.seen["begun"]["gangs"]
    (owner,) = gang["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("LlavaEvalJob", "demo", lived.job()["metadata"]["uid"])


def test_its_run_file_names_the_model_and_how_to_reach_it(lived: Evaluation) -> None:
    name = lived.seen["begun"]["gangs"][0]["metadata"]["name"]
    stored = kubernetes.client.CoreV1Api(lived.client).read_namespaced_config_map(name, lived.namespace)
    run = json.loads(stored.data["run.json"])
    assert (run["stage"], run["job"]["kind"], run["task"]["modelUri"]) == ("evaluate", "LlavaEvalJob", MODEL)
    assert run["task"]["modelStorage"]["endpoint"] == "http://theirs:9000"
    assert run["storage"]["uri"] == "s3://bucket/scores"


def test_the_end_of_its_training_job_is_not_its_own(lived: Evaluation) -> None:
    (before,), (after,) = lived.seen["running"]["gangs"], lived.seen["done"]["gangs"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert lived.seen["done"]["status"]["restarts"] == 0


def test_scores_and_what_was_scored_are_in_its_status(lived: Evaluation) -> None:
    status = lived.seen["done"]["status"]
    assert (status["score"], status["results"], status["artifacts"]) == ("50.0", SAID.results, SAID.artifacts)
    assert (status["model"]["uri"], status["model"]["trainJobName"]) == (MODEL, "demo")


def test_kubectl_shows_it_under_its_short_name(lived: Evaluation) -> None:
    heads, line = (row.split() for row in Kubectl(lived.namespace)("get", "lej").splitlines())
    shown = dict(zip(heads, line, strict=False))
    assert (shown["NAME"], shown["STATE"]) == ("demo", "Succeeded")
    assert "50.0" in line


def test_events_are_about_the_evaluation(lived: Evaluation) -> None:
    api = kubernetes.client.CoreV1Api(lived.client)
    told = api.list_namespaced_event(lived.namespace, field_selector="involvedObject.kind=LlavaEvalJob").items
    assert {event.reason for event in told} == {"AttemptStarted", "StageSucceeded", "Succeeded"}
    assert {event.involved_object.name for event in told} == {"demo"}
