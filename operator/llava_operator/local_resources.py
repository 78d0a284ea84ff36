"""One job in a directory: DIR/job.json holds its identity, spec and status, DIR/events.jsonl what was told about it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from llava_contract.schema import Schema
from llava_contract.v1alpha1 import JobSpec, LlavaEvalJobSpec, LlavaTrainJobSpec
from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_operator.core.events import Event
from llava_operator.core.job import Job, Key, kind_of
from llava_operator.core.status import reopened
from llava_operator.errors import AnotherSpec, StateUnreadable
from llava_operator.local_folder import locked_folder, prepare_folder, write_whole

__all__ = ["JobFile", "LocalResources", "open_job", "read_job_file"]


class JobFile(Schema):
    """What job.json says."""

    uid: str
    namespace: str = "local"
    name: str
    generation: int = 1
    spec_hash: str
    """SHA-256 of the effective spec without runPolicy: limits may change between runs, the work may not."""
    spec: LlavaTrainJobSpec | LlavaEvalJobSpec
    status: JobStatus = JobStatus()


class LocalResources:
    """The resource port over a directory that this process owns."""

    def __init__(self, folder: Path, file: JobFile, *, tell: Callable[[Event], None] = lambda _: None) -> None:
        self.folder = folder
        self._file = file
        self._tell = tell
        self._is_held = False

    @property
    def key(self) -> Key:
        """The one job that lives here."""
        return Key(kind_of(self._file.spec), self._file.namespace, self._file.name)

    @property
    def status(self) -> JobStatus:
        """Its status as last written."""
        return self._file.status

    def hold(self) -> None:
        """Suspend the job for the rest of this process's life, whatever its spec says."""
        self._is_held = True

    def get(self, key: Key) -> Job | None:
        """Read the job."""
        file = self._file
        if key != self.key:
            return None
        policy = file.spec.run_policy
        held = policy.model_copy(update={"suspend": policy.suspend or self._is_held})
        spec = file.spec.model_copy(update={"run_policy": held})
        return Job(key, uid=file.uid, generation=file.generation, spec=spec, status=file.status)

    def renew(self, key: Key) -> bool:  # noqa: ARG002  the port gives it
        """Say that the directory is this process's own, so that nothing in it can have changed."""
        return False

    def patch_status(self, job: Job, status: JobStatus) -> None:
        """Write job.json anew."""
        assert job.uid == self._file.uid, f"{job.uid} does not live here, {self._file.uid} does"
        self._file = self._file.model_copy(update={"status": status})
        _write(self.folder, self._file)

    def emit(self, job: Job, event: Event) -> None:
        """Append to events.jsonl, and tell whoever looks on."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "type": "Warning" if event.is_warning else "Normal",
            "reason": event.reason,
            "message": event.message,
            "uid": job.uid,
        }
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._tell(event)


@contextmanager
def open_job(
    folder: Path,
    spec: JobSpec,
    *,
    name: str,
    is_new: bool = False,
    tell: Callable[[Event], None] = lambda _: None,
) -> Iterator[LocalResources]:
    """Own the directory and find or make its job.

    The same spec continues the job that is there, a failed one included; another spec is refused unless `is_new`.
    Raises AnotherSpec, DirectoryBusy, StateUnreadable, Unwritable and NoSpace.
    """
    prepare_folder(folder)
    with locked_folder(folder):
        found = None if is_new else read_job_file(folder)
        file = _continued(found, spec, folder=folder) if found else _fresh(spec, name)
        if file != found:
            _write(folder, file)
        yield LocalResources(folder, file, tell=tell)


def _fresh(spec: JobSpec, name: str) -> JobFile:
    return JobFile(uid=str(uuid.uuid4()), name=name, spec_hash=_spec_hash(spec), spec=spec)


def _continued(found: JobFile, spec: JobSpec, *, folder: Path) -> JobFile:
    if found.spec_hash != _spec_hash(spec):
        raise AnotherSpec(
            f"{folder} holds a job with another spec: choose another --dir, or add --new to start over there."
        )
    status = reopened(found.status) if found.status.phase is Phase.FAILED else found.status
    generation = found.generation + (found.spec != spec)
    return found.model_copy(update={"spec": spec, "status": status, "generation": generation})


def _spec_hash(spec: JobSpec) -> str:
    work = spec.model_dump(mode="json", exclude={"run_policy"})
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def read_job_file(folder: Path) -> JobFile | None:
    """Read what a folder's job.json says; None when there is none, StateUnreadable when it cannot be read."""
    file = folder / "job.json"
    if not file.exists():
        return None
    try:
        return JobFile.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise StateUnreadable(f"{file} cannot be read: restore it, or add --new to start over.") from error


def _write(folder: Path, file: JobFile) -> None:
    write_whole(folder / "job.json", file.model_dump_json(indent=2) + "\n")
