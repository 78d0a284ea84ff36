"""What the chart lets the operator do: everything that it does, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from support.charts import NAMESPACE, Body, of_kind, rendered
from support.rights import JOBS, LEASE

kube = pytest.importorskip("llava_operator.kube", reason="the operator extra is not installed: make init")

INSTALLATIONS = {"cluster": {}, "two namespaces": {"watchNamespaces": ["one", "two"]}}


def rights(roles: list[Body]) -> dict[tuple[str, str], set[str]]:
    granted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in (rule for role in roles for rule in role["rules"]):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                granted[group, resource] |= set(rule["verbs"])
    return dict(granted)


def roles(kind: str, **values: Any) -> list[Body]:
    return [role for role in of_kind(rendered(**values), kind) if not aggregated(role)]


def aggregated(role: Body) -> bool:
    return any("aggregate-to" in label for label in role["metadata"]["labels"])


def test_cluster_wide_the_operator_may_do_what_it_does() -> None:
    assert rights(roles("ClusterRole")) == JOBS


@pytest.mark.parametrize("namespace", ["one", "two"])
def test_in_a_watched_namespace_it_may_do_the_same(namespace: str) -> None:
    found = roles("Role", watchNamespaces=["one", "two"])
    assert rights([role for role in found if role["metadata"]["namespace"] == namespace]) == JOBS


def test_with_watched_namespaces_nothing_is_granted_in_the_cluster() -> None:
    bodies = rendered(watchNamespaces=["one"])
    assert not of_kind(bodies, "ClusterRole") + of_kind(bodies, "ClusterRoleBinding")


@pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS)
def test_in_its_own_namespace_it_may_hold_its_lease(values: dict[str, Any]) -> None:
    own = [role for role in roles("Role", **values) if role["metadata"]["namespace"] == NAMESPACE]
    assert rights(own) == LEASE


def test_no_other_lease_can_be_read_or_written() -> None:
    (role,) = roles("Role", leaseName="mine")
    named = [rule for rule in role["rules"] if set(rule["verbs"]) & {"get", "update"}]
    assert [rule["resourceNames"] for rule in named] == [["mine"]]


def test_the_table_names_the_kinds_that_the_operator_can_name() -> None:
    known = {(group_of(path), name.partition(".")[0]) for name, path in kube.PATHS.items()}
    assert {kind for kind in JOBS | LEASE if "/status" not in kind[1]} == known | {("", "namespaces")}


def group_of(path: str) -> str:
    return path.split("/")[1] if path.startswith("apis/") else ""


@pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS)
def test_no_rule_reaches_secrets_or_everything(values: dict[str, Any]) -> None:
    bodies = rendered(**values)
    rules = [rule for kind in ("Role", "ClusterRole") for role in of_kind(bodies, kind) for rule in role["rules"]]
    words = {word for rule in rules for field in ("apiGroups", "resources", "verbs") for word in rule[field]}
    assert not words & {"*", "secrets", "pods/exec", "escalate", "bind", "impersonate"}


@pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS)
def test_every_binding_names_a_role_that_is_there_and_the_pods_account(values: dict[str, Any]) -> None:
    bodies = rendered(**values)
    account = of_kind(bodies, "Deployment")[0]["spec"]["template"]["spec"]["serviceAccountName"]
    for kind in ("Role", "ClusterRole"):
        names = {place(role) for role in of_kind(bodies, kind)}
        for binding in of_kind(bodies, f"{kind}Binding"):
            assert (binding["metadata"].get("namespace"), binding["roleRef"]["name"]) in names
            subjects = [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
            assert binding["subjects"] == subjects


def place(body: Body) -> tuple[str | None, str]:
    return body["metadata"].get("namespace"), body["metadata"]["name"]


@pytest.mark.parametrize(("role", "verb", "may"), [
    ("view", "get", True), ("view", "create", False), ("edit", "create", True), ("admin", "delete", True),
])  # fmt: skip
def test_the_clusters_own_roles_reach_our_kinds(role: str, verb: str, may: bool) -> None:
    label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
    (found,) = [one for one in of_kind(rendered(), "ClusterRole") if label in one["metadata"]["labels"]]
    assert all((verb in verbs) is may for kind, verbs in rights([found]).items() if "/" not in kind[1])


def test_without_rbac_no_role_is_made() -> None:
    bodies = rendered(rbac={"create": False})
    assert not [body for body in bodies if body["apiVersion"].startswith("rbac.")]
