"""What a Lease's fields mean."""

from __future__ import annotations

from typing import Any

import pytest

from llava_operator.cluster_lease import ClusterLease
from llava_operator.errors import AlreadyExists, Conflict
from llava_operator.lease import LeaseRecord, LeaseTimes
from support.jobs import NOON

STORED = {"metadata": {"resourceVersion": "8"}, "spec": {"holderIdentity": "us", "leaseTransitions": 2}}


class Calls:
    """An API server with one answer."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.sent = answer, dict[str, Any]()

    def read(self, kind: str, namespace: str, *, name: str) -> Any:
        assert (kind, namespace, name) == ("leases", "system", "llava-operator")
        return self.answer

    def create(self, kind: str, body: Any) -> Any:
        self.sent = {"verb": "create", "kind": kind, **body}
        if self.answer is None:
            raise AlreadyExists("there")
        return self.answer

    def replace(self, kind: str, body: Any) -> Any:
        self.sent = {"verb": "replace", "kind": kind, **body}
        return self.answer


def lease(answer: Any) -> tuple[ClusterLease, Calls]:
    calls = Calls(answer)
    return ClusterLease(calls, "system", name="llava-operator", times=LeaseTimes(), clock=lambda: NOON), calls


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (None, None),
        (STORED, LeaseRecord("us", version="8", transitions=2)),
        ({"metadata": {"resourceVersion": "1"}, "spec": {}}, LeaseRecord("", version="1")),
        ({"metadata": {"resourceVersion": "1"}}, LeaseRecord("", version="1")),
    ],
)
def test_a_lease_is_read(body: Any, want: LeaseRecord | None) -> None:
    assert lease(body)[0].read() == want


@pytest.mark.parametrize(("version", "verb"), [("", "create"), ("7", "replace")])
def test_a_record_replaces_the_version_that_it_names(version: str, verb: str) -> None:
    port, calls = lease(STORED)
    assert port.write(LeaseRecord("us", version=version, transitions=2)).version == "8"
    assert (calls.sent["verb"], calls.sent["metadata"].get("resourceVersion", "")) == (verb, version)


def test_the_time_has_the_form_that_the_api_server_wants() -> None:
    port, calls = lease(STORED)
    port.write(LeaseRecord("us", version="7"))
    assert calls.sent["spec"]["renewTime"].endswith(".000000Z")


def test_a_lease_that_another_made_first_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="another replica"):
        lease(None)[0].write(LeaseRecord("us"))
