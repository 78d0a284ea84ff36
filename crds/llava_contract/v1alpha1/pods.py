"""What a user may say about the pods of a job: a bounded part of Kubernetes' own pod schema, under its own names.

affinity and volumes stay open objects: their full schema is larger than all of ours, and only Kubernetes reads them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from llava_contract import rules
from llava_contract.schema import Schema, list_map, unique_by

__all__ = [
    "CacheVolume", "CpuPods", "EnvVar", "KeyRef", "PodOverlay", "PodResources", "SecretRef", "Toleration",
    "ValueSource", "Volume", "VolumeMount",
]  # fmt: skip

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""A DNS-1123 subdomain, as Secrets, claims and classes are named."""
Word = Annotated[str, Field(max_length=316)]
"""A key or value of a label, or a key of a taint."""
Quantity = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount as Kubernetes writes it, in quotes where it is a bare number."""
Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]
Words = Annotated[dict[str, Word], Field(max_length=64)]

_OPEN: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
"""What the CRD says of an object whose fields only Kubernetes knows."""


class PodResources(Schema):
    """Requests and limits of the training container; GPUs come from gpusPerWorker."""

    requests: Quantities = Field(default_factory=dict)
    """What the scheduler sets aside, such as cpu: "8" and memory: 64Gi."""
    limits: Quantities = Field(default_factory=dict)
    """What the container may use at most; memory counts /dev/shm too."""


class KeyRef(Schema):
    """One key of a Secret or ConfigMap in the job's namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key in it."""
    optional: bool = False
    """Start without it when it is not there."""


class ValueSource(Schema):
    """Where the value of an environment variable comes from."""

    secret_key_ref: KeyRef | None = None
    """A key of a Secret; only the pods read it, the operator never does."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""


class EnvVar(Schema):
    """One environment variable of the training container."""

    RULES: ClassVar = (rules.RESERVED_ENV, rules.ONE_ENV_VALUE)

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value."""
    value_from: ValueSource | None = None
    """Where its value comes from instead."""


class Toleration(Schema):
    """A taint that the pods accept, as in a pod's own tolerations."""

    key: Word | None = None
    """Key of the taint; leave out for all."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists, or Equal to value."""
    value: Word | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; leave out for all."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a NoExecute taint is accepted; leave out for ever."""


class Volume(Schema):
    """A volume of the pods, of any kind that Kubernetes knows."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_OPEN)

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name that volumeMounts refer to."""


class VolumeMount(Schema):
    """Where a volume appears in the training container."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the volume."""
    mount_path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[^:]*$")]
    """Path in the container."""
    sub_path: Annotated[str, Field(max_length=1024)] | None = None
    """Folder of the volume to mount instead of its root."""
    read_only: bool = False
    """Refuse writes."""


class SecretRef(Schema):
    """A Secret in the job's namespace."""

    name: ObjectName
    """Name of the Secret."""


class PodOverlay(Schema):
    """What is laid over the pods that the operator makes."""

    labels: Words = Field(default_factory=dict)
    """More labels."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """More annotations."""
    node_selector: Words = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the pods accept. Unless you say otherwise, pods leave a node that is gone after 30 s."""
    affinity: Annotated[dict[str, Any], Field(json_schema_extra=_OPEN)] | None = None
    """A pod's affinity, as Kubernetes writes it."""
    volumes: Annotated[list[Volume], Field(max_length=32, json_schema_extra=list_map("name")), unique_by("name")] = (
        Field(default_factory=list)
    )
    """More volumes."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=32)] = Field(default_factory=list)
    """Where they appear; a mount at /tmp, /cache or /dev/shm replaces the operator's own."""
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name")), unique_by("name")] = Field(
        default_factory=list
    )
    """More environment variables of the training container."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=8)] = Field(default_factory=list)
    """Secrets that the image is pulled with."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; its token is not mounted."""


class CpuPods(Schema):
    """The pods of prepare and convert, which need no GPU; nothing of podTemplate holds for them."""

    resources: PodResources = PodResources()
    """Requests and limits."""
    pod_template: PodOverlay = PodOverlay()
    """What is laid over these pods."""


class EmptyDirCache(Schema):
    """A folder of the pod's own, on its node; it goes with the pod."""

    size_limit: Quantity | None = None
    """The pod is evicted when the folder holds more; without it the node's disk is the limit."""


class ClaimCache(Schema):
    """A PersistentVolumeClaim in the job's namespace."""

    claim_name: ObjectName
    """Name of the claim. A gang on several nodes needs one of access mode ReadWriteMany."""


class HostPathCache(Schema):
    """A folder of the node, for the next pod there; Pod Security of level baseline or restricted refuses it."""

    path: Annotated[str, Field(min_length=2, max_length=1024, pattern=r"^/[^:]+$")]
    """An existing folder that user 65532 may write to."""


class CacheVolume(Schema):
    """Where pods keep what they fetch from hf:// and s3://, at /cache; write exactly one of the three."""

    RULES: ClassVar = (rules.ONE_CACHE,)

    empty_dir: EmptyDirCache | None = None
    """A folder of each pod's own, which goes with it."""
    persistent_volume_claim: ClaimCache | None = None
    """A volume that outlives the pods: a second attempt fetches nothing anew."""
    host_path: HostPathCache | None = None
    """A folder of the node that outlives the pods."""
