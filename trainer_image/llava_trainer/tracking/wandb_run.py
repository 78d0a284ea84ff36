"""A stage as a run on Weights & Biases: all attempts are one run, known by the job's UID."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llava_contract.v1alpha1.tracking import WandbMode, WandbSpec
from llava_trainer.storage import Storage
from llava_trainer.tracking.identity import RunIdentity

__all__ = ["WandbRun"]


class WandbRun:
    """A run; one that is kept offline lies in the job's storage when the attempt ends."""

    def __init__(self, spec: WandbSpec, identity: RunIdentity, *, storage: Storage) -> None:
        """Begin the run or go on with it; raises what wandb raises."""
        import wandb  # noqa: PLC0415  (seconds, only where a job asks for it)

        self._storage, self._is_offline = storage, spec.mode is WandbMode.OFFLINE
        self._folder = TemporaryDirectory(prefix="llava-wandb-")
        self._run: Any = wandb.init(
            project=spec.project,
            entity=spec.entity,
            id=identity.id,
            name=identity.name,
            config=dict(identity.settings),
            mode=spec.mode.value,
            dir=self._folder.name,
            resume=None if self._is_offline else "allow",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note a step."""
        self._run.log(dict(scalars), step=step)

    def flush(self) -> None:
        """Leave it to wandb, which sends by itself."""

    def close(self) -> None:
        """End the run; an offline one is stored for `wandb sync`."""
        self._run.finish()
        if self._is_offline:
            root = Path(self._folder.name) / "wandb"
            for file in (found for found in root.glob("offline-run-*/**/*") if found.is_file()):
                self._storage.write(f"logs/wandb/{file.relative_to(root).as_posix()}", file.read_bytes())
        self._folder.cleanup()
