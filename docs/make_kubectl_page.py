"""Write docs/kubectl.md: what kubectl prints while jobs live on a real cluster, command by command.

`python docs/make_kubectl_page.py` needs kubectl, a cluster that KUBECONFIG names (with our resource definitions, the
Training Operator and the trainer's image), and nothing else running in the namespace that it makes and deletes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "tiny" / "llava-finetune.yaml"
NAMESPACE = "llava-docs"
WHOLE_S = 1800
Parts = Iterator[str]


def kubectl(*words: str, said: str | None = None) -> str:
    """Run a command that may fail, and give what it prints."""
    command = ["kubectl", "--namespace", NAMESPACE, *words]
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603  our own words
    return (done.stdout + done.stderr).rstrip()


def shown(line: str, *, said: str | None = None, only: tuple[str, str] | None = None) -> str:
    """Show a command with its output; `only` cuts it to what stands between two words."""
    output = kubectl(*shlex.split(line), said=said)
    if only:
        start, end = output.find(only[0]), output.find(only[1])
        output = output[max(start, 0) : end if end > start else None].rstrip()
    return f"```console\n$ kubectl {line}\n{output}\n```\n\n"


def status(name: str) -> dict[str, Any]:
    """Read a job's status; empty while there is none."""
    found = kubectl("get", "ltj", name, "--output=json")
    return dict(json.loads(found).get("status") or {}) if found.startswith("{") else {}


def wait_for(name: str, **want: str) -> None:
    """Wait until a job's phase, stage or reason for not being ready is this."""
    until = time.monotonic() + WHOLE_S
    while time.monotonic() < until:
        now = status(name)
        conditions = {one["type"]: one for one in now.get("conditions", ())}
        told = {
            "phase": now.get("phase"),
            "stage": now.get("currentStage"),
            "reason": conditions.get("Ready", {}).get("reason"),
            "progress": "told" if (now.get("progress") or {}).get("eta") else "",
        }
        if all(told[key] == value for key, value in want.items()):
            return
        time.sleep(0.5)
    sys.exit(f"{name} never came to {want}: {status(name)}")


@contextmanager
def watching(name: str) -> Iterator[Path]:
    """Let `kubectl get -w` write into a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "watch"
        with file.open("w") as out:
            command = ["kubectl", "--namespace", NAMESPACE, "get", "ltj", name, "--watch"]
            process = subprocess.Popen(command, stdout=out)  # noqa: S603  our own words
        try:
            yield file
        finally:
            process.terminate()
            process.wait()


@contextmanager
def operator() -> Iterator[None]:
    """Run an operator for the namespace, as the chart would."""
    command = [sys.executable, "-m", "llava_operator", "--namespaces", NAMESPACE, "--own-namespace", NAMESPACE,
               "--port", "0"]  # fmt: skip
    with Path(tempfile.gettempdir(), "llava-docs-operator.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)  # noqa: S603  our own words
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def variant(name: str, **changes: Any) -> str:
    """Write the example under another name, with some fields of its spec changed."""
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"]["name"] = name
    body["spec"]["storage"]["uri"] += f"-{name}"
    for path, value in changes.items():
        *way, last = path.split("__")
        node = body["spec"]
        for key in way:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[last] = value
    return str(yaml.safe_dump(body, sort_keys=False))


def life() -> Parts:
    """One job from apply to its score."""
    yield "## A job's life\n\n"
    with watching("tiny") as watched:
        yield shown("apply -f examples/tiny/llava-finetune.yaml")
        wait_for("tiny", stage="pretrain", phase="Running", progress="told")
        yield "While it trains; a value that is not known is empty:\n\n" + shown("get ltj") + shown("get ltj -o wide")
        yield "The same in full, without the spec:\n\n"
        yield shown("describe ltj tiny", only=("Status:", "\nEvents:"))
        yield "A script waits for the end; `--for=condition=Failed` ends on the other one:\n\n"
        yield shown(f"wait --for=condition=Ready ltj/tiny --timeout={WHOLE_S}s")
        yield shown("get ltj tiny")
        lines = watched.read_text().rstrip()
    yield f"`kubectl get ltj tiny --watch` had written by then:\n\n```text\n{lines}\n```\n\n"
    yield "A job tells at most twelve events in its life; what else happens is in its status.\n\n"
    yield shown("get events --field-selector involvedObject.name=tiny --sort-by=.metadata.creationTimestamp")


def troubles() -> Parts:
    """What a job says that cannot go on."""
    yield "## When something is missing\n\nPods that cannot start cost nothing; the reason is the cluster's own:\n\n"
    kubectl("apply", "-f", "-", said=variant("homeless", workers__cpu={"podTemplate": {"nodeSelector": {"pool": "a"}}}))
    wait_for("homeless", phase="Pending", reason="Unschedulable")
    yield shown("get ltj homeless -o wide")
    suspend = '{"spec": {"runPolicy": {"suspend": true}}}'
    yield "Suspending takes the pods away and keeps what is stored:\n\n"
    yield shown(f"patch ltj homeless --type=merge -p '{suspend}'")
    wait_for("homeless", phase="Suspended")
    yield shown("get ltj homeless -o wide")
    yield "Wrong input fails the job before any GPU is asked for, and says where it is:\n\n"
    kubectl("apply", "-f", "-", said=variant("mistaken", pretrain__data__0__annotations="data/none.json"))
    wait_for("mistaken", phase="Failed")
    yield shown("get ltj mistaken -o wide") + shown("get ltj --field-selector status.phase=Failed")
    yield "The operator applies recipes; a name that nobody published becomes a condition until it is mended:\n\n"
    kubectl("apply", "-f", "-", said=variant("misspelt", recipe="internlm2-7b-qlor"))
    wait_for("misspelt", phase="Failed")
    yield shown("get ltj misspelt -o jsonpath={.status.conditions[0].message}")


def refusals() -> Parts:
    """What the API server does not take."""
    yield "## Refused at the door\n\n`llava validate FILE` says the same without a cluster.\n\n"
    for name, changes in (
        ("typo", {"pretrain__batchSzie": 4}),
        ("template", {"model__promptTemplate": "vicunna"}),
        ("lora", {"finetune__llm__mode": "full"}),
        ("bounds", {"pretrain__batchSize": 0, "evaluate__benchmarks": []}),
    ):
        output = kubectl("apply", "-f", "-", said=variant(name, **changes))
        asked = ", ".join(f"{path.replace('__', '.')}: {json.dumps(value)}" for path, value in changes.items())
        yield f"`{asked}`\n\n```text\n{output}\n```\n\n"


def explanations() -> Parts:
    """What the API server knows about the fields."""
    yield "## Fields\n\nEvery field is described; `kubectl explain ltj --recursive` lists them all.\n\n"
    yield shown("explain ltj.spec.finetune.llm") + shown("explain ltj.status.stages.checkpoint")
    yield shown("get crd llavatrainjobs.llava.dev -o jsonpath={.spec.versions[0].selectableFields}")


def main() -> None:
    """Write the page."""
    version = json.loads(kubectl("get", "--raw", "/version"))["gitVersion"]
    kubectl("create", "namespace", NAMESPACE)
    kubectl("apply", "-f", "examples/s3/seaweedfs.yaml")
    kubectl("rollout", "status", "deployment/llava-s3", "--timeout=180s")
    try:
        with operator():
            parts = [*life(), *troubles(), *refusals(), *explanations()]
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    head = (
        "<!-- Written by docs/make_kubectl_page.py from a real cluster; run it again instead of editing. -->\n\n"
        f"# What kubectl shows\n\nEverything below was printed by a cluster (Kubernetes {version}, the Training "
        f"Operator, the trainer on CPUs), in the order in which it stands here.\n[Conditions and reasons]"
        "(reference/conditions.md) has all words.\n\n"
    )
    text = "\n".join(line.rstrip() for line in (head + "".join(parts)).splitlines()) + "\n"
    (ROOT / "docs" / "kubectl.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if "KUBECONFIG" not in os.environ:
        sys.exit("set KUBECONFIG to a cluster whose nodes can pull the trainer's image")
    main()
