"""How one operator process is run: every flag and every variable of the environment, parsed once into one noun."""

from __future__ import annotations

import argparse
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llava_operator.lease import LeaseTimes

__all__ = ["Settings", "parse"]

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Settings:
    """What `llava-operator` was told."""

    namespaces: tuple[str, ...]
    """Namespaces to work in; empty is the whole cluster."""
    own_namespace: str
    """Where the Lease lies."""
    identity: str
    """Name of this process in the Lease; no other process ever has it."""
    trainer_image: str
    lease_name: str
    lease_times: LeaseTimes
    num_workers: int
    resync_s: float
    """A job is looked at this often even when nothing happens to it."""
    port: int
    """Of /metrics and /healthz; 0 takes a free one."""


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Parse flags; one that is absent takes its variable of the environment, then its default."""
    told = _parser(environment).parse_args(argv)
    return Settings(
        namespaces=tuple(sorted({name for name in told.namespaces.split(",") if name})),
        own_namespace=told.own_namespace or _mounted_namespace(),
        identity=f"{told.identity or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        trainer_image=told.trainer_image,
        lease_name=told.lease_name,
        lease_times=LeaseTimes(),
        num_workers=told.workers,
        resync_s=told.resync_seconds,
        port=told.port,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llava-operator",
        description="Drive LlavaTrainJobs on a Kubernetes cluster. Each flag may be given as LLAVA_<FLAG> instead.",
    )

    def flag(name: str, *, default: str, kind: Callable[[str], object] = str, text: str) -> None:
        # argparse converts a default that is a string like a value of the command line, with the same errors.
        variable = "LLAVA_" + name.upper().replace("-", "_")
        parser.add_argument(
            f"--{name}",
            default=environment.get(variable, default),
            type=kind,
            help=f"{text} (default: {default or '-'})",
        )

    flag("namespaces", default="", text="work in these only, separated by commas; empty is the whole cluster")
    flag("own-namespace", default="", text="where the Lease lies; empty is the pod's own")
    flag("identity", default="", text="name of this replica; empty is the host's")
    flag("trainer-image", default="llava-trainer:dev", text="image of pods whose job names none")
    flag("lease-name", default="llava-operator", text="the Lease that replicas compete for")
    flag("workers", default="8", kind=_positive, text="jobs looked at in parallel")
    flag("resync-seconds", default="300", kind=_positive, text="look at every job this often")
    flag("port", default="8080", kind=int, text="of /metrics and /healthz")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def _mounted_namespace() -> str:
    return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() if _NAMESPACE_FILE.exists() else "default"
