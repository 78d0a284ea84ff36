"""How an attempt was asked and how it ended, kept in the job's storage: pods go, and what they said goes with them.

The report of a job that ran on a cluster tells of its stages by these files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from pydantic import ValidationError

from llava_contract.result import StageResult
from llava_contract.run import RunConfig
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

        What an earlier job left under the same prefix is dropped: its attempts are none of this job's.
        """
        storage = open_storage(config.storage)
        for path in _of_others(storage, config.job.uid):
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


def _of_others(storage: Storage, uid: str) -> list[str]:
    """Find the files of attempts of other jobs, those that cannot be read included."""
    files = [item.path for item in storage.list(_FOLDER)]
    ours = {
        path.rpartition("/")[0] for path in files if path.endswith("/run.json") and _uid_in(storage.read(path)) == uid
    }
    return [path for path in files if path.rpartition("/")[0] not in ours]


def _uid_in(run_file: bytes) -> str | None:
    try:
        return RunConfig.model_validate_json(run_file).job.uid
    except ValidationError:
        return None
