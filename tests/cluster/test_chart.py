"""The chart on a real API server: what it installs is enough for an operator with its account's token, and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.charts import CHART, helm
from support.eventually import eventually
from support.own_cluster import own_cluster
from support.replicas import Replica
from support.rights import JOBS, LEASE
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes")

SYSTEM, TEAM, OTHER = "llava-system", "team", "other"
TRAINING = yaml.safe_load((ROOT / "examples/tiny/llava-finetune.yaml").read_text())
EVALUATION = yaml.safe_load((ROOT / "examples/tiny/llava-eval.yaml").read_text())
EVALUATION["spec"]["model"] = {"uri": "s3://llava/tiny/models/huggingface"}
GRANTED = {(verb, kind) for (_, kind), verbs in (JOBS | LEASE).items() for verb in verbs}
# Read when Pod Security warns, to see whether it would also refuse.
UNUSED = {("get", "namespaces")}
EVALUATIONS = {("get", "llavaevaljobs")}
WHERE: dict[str, dict[str, Any]] = {"everywhere": {}, "one namespace": {"watchNamespaces": [TEAM]}}


@dataclass(frozen=True)
class Server:
    """One API server, with an administrator's eyes."""

    kubeconfig: Path
    client: Any

    @property
    def core(self) -> Any:
        return kubernetes.client.CoreV1Api(self.client)

    @property
    def objects(self) -> Any:
        return kubernetes.client.CustomObjectsApi(self.client)

    @property
    def kinds(self) -> Any:
        return kubernetes.client.ApiextensionsV1Api(self.client)

    def helm(self, *words: str, **values: Any) -> None:
        given = ["--values", "-"] if values else []
        done = helm(*words, *given, "--kubeconfig", str(self.kubeconfig), said=json.dumps(values))
        assert done.returncode == 0, done.stderr

    def gangs(self, namespace: str) -> list[str]:
        found = self.objects.list_namespaced_custom_object("kubeflow.org", "v1", namespace, "pytorchjobs")
        return [str(body["metadata"]["name"]) for body in found["items"]]

    def suspend(self, namespace: str, name: str, *, kind: str = "llavatrainjobs") -> None:
        where = ("llava.dev", "v1alpha1", namespace, kind, name)
        self.objects.patch_namespaced_custom_object(*where, {"spec": {"runPolicy": {"suspend": True}}})

    def phase(self, namespace: str, name: str) -> str:
        where = ("llava.dev", "v1alpha1", namespace, "llavatrainjobs", name)
        return str(self.objects.get_namespaced_custom_object(*where).get("status", {}).get("phase"))

    def reasons(self, namespace: str) -> set[str]:
        events = kubernetes.client.EventsV1Api(self.client).list_namespaced_event(namespace)
        return {str(event.reason) for event in events.items}

    @contextmanager
    def job(self, namespace: str, name: str, *, body: dict[str, Any] = TRAINING) -> Iterator[None]:
        where = ("llava.dev", "v1alpha1", namespace, f"{body['kind'].lower()}s")
        self.objects.create_namespaced_custom_object(*where, {**body, "metadata": {"name": name}})
        try:
            yield
        finally:
            self.objects.delete_namespaced_custom_object(*where, name)


@pytest.fixture(scope="module")
def server(kubeflow_kind: dict[str, Any]) -> Iterator[Server]:
    """A server with the Training Operator's kind and the chart's, which came with a first release."""
    with own_cluster(network=8) as kubeconfig:
        made = Server(kubeconfig, kubernetes.config.new_client_from_config(str(kubeconfig)))
        made.kinds.create_custom_resource_definition(kubeflow_kind)
        for namespace in (SYSTEM, TEAM, OTHER):
            made.core.create_namespace({"metadata": {"name": namespace}})
        made.helm("install", "kinds", str(CHART), "--namespace", SYSTEM, replicas=0)
        eventually(lambda: served(made) == {"llavatrainjobs", "llavaevaljobs"})
        yield made


def served(server: Server) -> set[str]:
    try:
        found = server.objects.get_api_resources("llava.dev", "v1alpha1").resources
    except kubernetes.client.ApiException:
        return set()
    return {str(one.name) for one in found if "/" not in one.name}


@dataclass(frozen=True)
class Installation:
    """One release without nodes: its pods are processes here, with the pod's variables and the account's token."""

    server: Server
    release: str
    folder: Path

    def start(self, name: str) -> Replica:
        apps = kubernetes.client.AppsV1Api(self.server.client)
        pod = apps.read_namespaced_deployment(f"{self.release}-llava-operator", SYSTEM).spec.template.spec
        told = {"metadata.namespace": SYSTEM, "metadata.name": name}
        variables = {
            one.name: one.value if one.value_from is None else told[one.value_from.field_ref.field_path]
            for one in pod.containers[0].env
        }
        environment = {**os.environ, **{key: value or "" for key, value in variables.items()}, "LLAVA_PORT": "0"}
        environment["KUBECONFIG"] = str(self.kubeconfig(pod.service_account_name))
        log_file = self.folder / f"{name}.log"
        with log_file.open("wb") as log:
            command = [sys.executable, "-m", "llava_operator"]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        return Replica(name, process, log_file)

    def kubeconfig(self, account: str) -> Path:
        body = kubernetes.client.AuthenticationV1TokenRequest(
            spec=kubernetes.client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600)
        )
        token = self.server.core.create_namespaced_service_account_token(account, SYSTEM, body).status.token
        config = yaml.safe_load(self.server.kubeconfig.read_text())
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
        file = self.folder / "token.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file


Install = Callable[..., Installation]


@pytest.fixture
def install(server: Server, tmp_path: Path) -> Iterator[Install]:
    made: list[str] = []

    def install_one(**values: Any) -> Installation:
        release = f"r{uuid.uuid4().hex[:6]}"  # a lease stays when a release goes
        server.helm("install", release, str(CHART), "--namespace", SYSTEM, crds={"enabled": False}, **values)
        made.append(release)
        return Installation(server, release, tmp_path)

    yield install_one
    for release in made:
        server.helm("uninstall", release, "--namespace", SYSTEM)


@pytest.fixture
def start(install: Install) -> Iterator[Callable[[Installation, str], Replica]]:  # noqa: ARG001  it ends after this
    started: list[Replica] = []

    def start_one(installation: Installation, name: str) -> Replica:
        started.append(installation.start(name))
        return started[-1]

    yield start_one
    for replica in started:
        replica.end()


Start = Callable[[Installation, str], Replica]


@pytest.mark.parametrize("values", WHERE.values(), ids=WHERE)
def test_the_accounts_rights_are_enough_from_a_job_to_its_gang_and_back(
    server: Server, install: Install, start: Start, values: dict[str, Any]
) -> None:
    replica = start(install(**values), "a")
    with server.job(TEAM, "llava"):
        eventually(lambda: len(server.gangs(TEAM)) == 1)
        eventually(lambda: "AttemptStarted" in server.reasons(TEAM))
        server.suspend(TEAM, "llava")
        eventually(lambda: server.gangs(TEAM) == [])
        eventually(lambda: server.phase(TEAM, "llava") == "Suspended")
    assert replica.end() == 0
    assert refused(replica) == []


def test_every_right_is_used_but_that_for_a_warning(server: Server, install: Install, start: Start) -> None:
    replica = start(install(), "a")
    with server.job(TEAM, "llava"), server.job(TEAM, "scored", body=EVALUATION):
        eventually(lambda: len(server.gangs(TEAM)) == 2)
        server.suspend(TEAM, "llava")
        eventually(lambda: len(server.gangs(TEAM)) == 1)
        # Events are asked for about what waits.
        eventually(lambda: GRANTED - used(replica) <= EVALUATIONS | UNUSED, saw=lambda: GRANTED - used(replica))
        server.suspend(TEAM, "scored", kind="llavaevaljobs")
        eventually(lambda: GRANTED - used(replica) == UNUSED, saw=lambda: GRANTED - used(replica))
    assert used(replica) <= GRANTED


def used(replica: Replica) -> set[tuple[str, str]]:
    """Verbs and resources of the requests so far; discovery needs no right."""
    asked = r'^llava_operator_api_requests_total\{kind="([^"]+)",verb="([^"]+)"'
    found = re.findall(asked, page(replica, "metrics"), flags=re.MULTILINE)
    return {(verb, kind) for kind, verb in found if kind not in {"v1", "v1alpha1"}}


def refused(replica: Replica) -> list[str]:
    """Lines of the log that tell of something that was not allowed."""
    lines = replica.log_file.read_text().splitlines()
    return [line for line in lines if any(word in line for word in ("orbidden", "ot enough permissions"))]


EVERYTHING: dict[str, Any] = {
    "replicas": 2,
    "watchNamespaces": [TEAM, OTHER],
    "image": {"repository": "registry.example/operator", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "extraArgs": ["--workers", "3"],
    "extraEnv": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "serviceAccount": {"annotations": {"e": "f"}},
    "networkPolicy": {"enabled": True},
}


def test_everything_at_once_is_accepted(install: Install) -> None:
    assert install(**EVERYTHING).release


def test_an_operator_of_one_namespace_leaves_the_others_alone(server: Server, install: Install, start: Start) -> None:
    replica = start(install(watchNamespaces=[TEAM]), "a")
    with server.job(OTHER, "not-mine"), server.job(TEAM, "mine"):
        eventually(lambda: len(server.gangs(TEAM)) == 1)
        assert server.gangs(OTHER) == []
    assert refused(replica) == []


@pytest.mark.parametrize("values", WHERE.values(), ids=WHERE)
def test_the_account_reads_no_secret(install: Install, values: dict[str, Any]) -> None:
    installation = install(**values)
    file = installation.kubeconfig(f"{installation.release}-llava-operator")
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(file)))
    for namespace in (SYSTEM, TEAM):
        with pytest.raises(kubernetes.client.ApiException) as told:
            core.list_namespaced_secret(namespace)
        assert told.value.status == 403


def test_a_replica_that_stands_by_is_healthy_too(install: Install, start: Start) -> None:
    installation = install(replicas=2)
    replicas = [start(installation, name) for name in ("a", "b")]
    eventually(lambda: sorted(leads(one) for one in replicas) == ["0.0", "1.0"])
    assert [page(one, "healthz") for one in replicas] == ["ok\n", "ok\n"]


def leads(replica: Replica) -> str:
    found = re.search(r"^llava_operator_leader (\S+)", page(replica, "metrics"), flags=re.MULTILINE)
    return found[1] if found else ""


def page(replica: Replica, name: str) -> str:
    """What a replica answers; empty while it does not."""
    ports = [line["port"] for line in replica.log() if "port" in line]
    if not ports:
        return ""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/{name}", timeout=10) as answer:
        return str(answer.read().decode())


def test_the_first_job_of_the_notes_is_one_that_the_server_takes(server: Server) -> None:
    notes = helm("get", "notes", "kinds", "--namespace", SYSTEM, "--kubeconfig", str(server.kubeconfig)).stdout
    _, _, shown = notes.partition("<<EOF\n")
    body = yaml.safe_load(textwrap.dedent(shown.partition("   EOF\n")[0]))
    where = ("llava.dev", "v1alpha1", TEAM, "llavatrainjobs")
    made = server.objects.create_namespaced_custom_object(*where, body, dry_run="All")
    assert made["metadata"]["name"] == "first"


def test_an_upgrade_keeps_the_jobs_and_so_does_an_uninstallation(server: Server) -> None:
    with server.job(OTHER, "kept"):
        server.helm("upgrade", "kinds", str(CHART), "--namespace", SYSTEM, replicas=0, workers=2)
        server.helm("uninstall", "kinds", "--namespace", SYSTEM)
        assert served(server) == {"llavatrainjobs", "llavaevaljobs"}
        server.helm("install", "kinds", str(CHART), "--namespace", SYSTEM, replicas=0)
        assert server.phase(OTHER, "kept") == "None"


def test_an_operator_that_came_before_the_training_operator_waits_for_it(
    server: Server, install: Install, start: Start, kubeflow_kind: dict[str, Any]
) -> None:
    name = str(kubeflow_kind["metadata"]["name"])
    server.kinds.delete_custom_resource_definition(name)
    eventually(
        lambda: name not in {str(kind.metadata.name) for kind in server.kinds.list_custom_resource_definition().items}
    )
    replica = start(install(), "a")
    eventually(lambda: any("install the Training Operator" in line["message"] for line in replica.log()))
    server.kinds.create_custom_resource_definition(kubeflow_kind)
    with server.job(TEAM, "llava"):
        eventually(lambda: len(server.gangs(TEAM)) == 1)
