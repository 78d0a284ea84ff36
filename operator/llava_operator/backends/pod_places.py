"""Where a pod may write and which claims it mounts: volumes, mounts, and the run file with paths in the container."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from llava_contract.result import Progress, StageResult
from llava_contract.run import RunConfig
from llava_contract.v1alpha1.pods import CacheVolume
from llava_operator.core.plan import PodPlan

__all__ = ["Places", "outside", "places_of"]

Told = TypeVar("Told", bound=Progress | StageResult)
_CLAIM: Final = re.compile(r"^pvc://(?P<claim>[^/\s]+)(?P<rest>/.*)?$")
_CLAIMS_ROOT: Final = "/mnt/claims"
_MOUNTED: Final = re.compile(rf"^file://{_CLAIMS_ROOT}/(?P<rest>.+)$")
_CACHE: Final = "/cache"
_OWN: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "/tmp": ("llava-tmp", {"emptyDir": {}}),  # noqa: S108  a volume of the pod's own
    # 64 MiB otherwise, too little for NCCL and loaders.
    "/dev/shm": ("llava-shm", {"emptyDir": {"medium": "Memory"}}),  # noqa: S108
}
"""Mount path to the name and source of a volume of the pod's own."""


@dataclass(frozen=True)
class Places:
    """Volumes of the pod and their mounts in the container, in Kubernetes' words."""

    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]


def places_of(config: RunConfig, pods: PodPlan) -> tuple[RunConfig, Places]:
    """Mount the claims that pvc:// URIs of the run file name, and say file:// for them, beside what the user mounts."""
    claims: dict[str, str] = {}
    moved = RunConfig.model_validate(_moved(config.model_dump(mode="json"), claims))
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    taken = {mount.mount_path.rstrip("/") for mount in pods.overlay.volume_mounts}
    # Everything else of the root is read-only.
    for path, (name, source) in {**_OWN, _CACHE: ("llava-cache", _cache_source(pods.cache))}.items():
        if path not in taken:
            volumes.append({"name": name, **source})
            mounts.append({"name": name, "mountPath": path})
    for claim, volume in claims.items():
        volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": volume, "mountPath": f"{_CLAIMS_ROOT}/{claim}"})
    volumes += [volume.model_dump(mode="json") for volume in pods.overlay.volumes]
    mounts += [
        mount.model_dump(mode="json", exclude_none=True, exclude_defaults=True) for mount in pods.overlay.volume_mounts
    ]
    return moved, Places(tuple(volumes), tuple(mounts))


def outside(told: Told) -> Told:
    """Say pvc:// again where a pod told of files below a claim's mount: nobody else has that mount."""
    return cast(Told, type(told).model_validate(_unmoved(told.model_dump(mode="json"))))


def _unmoved(value: Any) -> Any:
    match value:
        case dict():
            return {key: _unmoved(inner) for key, inner in value.items()}
        case str() if found := _MOUNTED.match(value):
            return f"pvc://{found['rest']}"
        case _:
            return value


def _cache_source(cache: CacheVolume | None) -> dict[str, Any]:
    if cache is None:
        return {"emptyDir": {}}
    source: dict[str, Any] = cache.model_dump(mode="json", exclude_none=True)
    if "hostPath" in source:
        # A folder that the kubelet makes belongs to root: better no pod, and an event that names the path.
        source["hostPath"]["type"] = "Directory"
    return source


def _moved(value: Any, claims: dict[str, str]) -> Any:
    """Replace every pvc://claim/path by its path in the container, and note the claim under its volume's name."""
    match value:
        case dict():
            return {key: _moved(inner, claims) for key, inner in value.items()}
        case list():
            return [_moved(inner, claims) for inner in value]
        case str() if found := _CLAIM.match(value):
            claim = found["claim"]
            claims.setdefault(claim, f"llava-claim-{len(claims)}")
            return f"file://{_CLAIMS_ROOT}/{claim}{found['rest'] or '/'}"
        case _:
            return value
