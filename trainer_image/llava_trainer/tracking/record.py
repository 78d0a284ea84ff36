"""How an attempt was asked and how it ended, kept in the job's storage: pods go, and what they said goes with them.

The report of a job that ran on a cluster tells of its stages by these files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from pydantic import ValidationError

from llava_contract.result import StageResult
from llava_contract.run import JobRef, RunConfig
from llava_trainer.storage import Storage, open_storage

__all__ = ["Record"]

_FOLDER: Final = "attempts"


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one attempt under `attempts/<stage>-<attempt>/`."""

    storage: Storage
    config: RunConfig

    @classmethod
    def begin(cls, config: RunConfig) -> Self:
        """Write down what is asked; raises what opening and writing a storage raises.

        What a deleted job of the same name left under the prefix is dropped: its attempts are none of this job's.
        """
        storage = open_storage(config.storage)
        for path in _of_predecessors(storage, config.job):
            storage.delete(path)
        record = cls(storage, config)
        storage.delete(record._path("result.json"))
        storage.write(record._path("run.json"), config.model_dump_json(indent=2).encode())
        return record

    def end(self, result: StageResult) -> None:
        """Write down how it ended."""
        self.storage.write(self._path("result.json"), result.model_dump_json(indent=2, exclude_none=True).encode())

    def _path(self, name: str) -> str:
        return f"{_FOLDER}/{self.config.stage}-{self.config.attempt}/{name}"


def _of_predecessors(storage: Storage, job: JobRef) -> list[str]:
    """Find the files of attempts of a deleted job of the same name, and of those whose run file cannot be read."""
    files = [item.path for item in storage.list(_FOLDER)]
    kept = {
        path.rpartition("/")[0]
        for path in files
        if path.endswith("/run.json") and (found := _job_in(storage.read(path))) and not _is_predecessor(found, job)
    }
    return [path for path in files if path.rpartition("/")[0] not in kept]


def _is_predecessor(found: JobRef, job: JobRef) -> bool:
    return found.uid != job.uid and found.model_copy(update={"uid": job.uid}) == job


def _job_in(run_file: bytes) -> JobRef | None:
    try:
        return RunConfig.model_validate_json(run_file).job
    except ValidationError:
        return None
