"""Which kind of place a URI names, and that a job can be kept there."""

from __future__ import annotations

from typing import assert_never

from llava_contract.run import StorageTarget
from llava_trainer.errors import Unsupported
from llava_trainer.storage.folder import open_folder
from llava_trainer.storage.location import Scheme, parse_location
from llava_trainer.storage.store import Storage

__all__ = ["home_of", "open_storage"]


def open_storage(target: StorageTarget | str, *, must_exist: bool = False) -> Storage:
    """Open a storage prefix, making its folder unless something must be there already.

    Raises MissingInput, StorageUnwritable, StorageForbidden, Infrastructure, or Unsupported for a place that cannot
    hold a job. A bare s3:// URI uses the endpoint and region of the environment, as other AWS programs do.
    """
    uri = target if isinstance(target, str) else target.uri
    location = parse_location(uri)
    match location.scheme:
        case Scheme.FILE:
            return open_folder(location.path, must_exist=must_exist)
        case Scheme.S3:
            from llava_trainer.storage.bucket import open_bucket_storage  # noqa: PLC0415  (boto3, for S3 users only)

            target = StorageTarget(uri=uri) if isinstance(target, str) else target
            return open_bucket_storage(target, must_exist=must_exist)
        case Scheme.PVC:
            raise Unsupported(f"{uri}: a claim exists only on a cluster; use a path or a file:// URI here.")
        case Scheme.HF:
            raise Unsupported(f"{uri}: the hub cannot hold a running job; use a path or a file:// URI.")
        case _:
            assert_never(location.scheme)


def home_of(uri: str, storage: Storage, server: StorageTarget) -> Storage:
    """The storage that holds a folder: this job's, or what stands above it elsewhere, reached as `server` is."""
    if uri.startswith(f"{storage.uri}/"):
        return storage
    above = uri.rstrip("/").rpartition("/")[0]
    return open_storage(server.model_copy(update={"uri": above}), must_exist=True)
