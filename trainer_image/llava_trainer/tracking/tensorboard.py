"""TensorBoard's event files of a stage, in the job's storage: `tensorboard --logdir <storage>/logs/tensorboard`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from llava_trainer.storage import Storage

__all__ = ["EventFiles"]

_EVERY_S: Final = 60.0


class EventFiles:
    """One event file an attempt; of steps that an attempt does anew TensorBoard shows the later ones."""

    def __init__(self, storage: Storage, stage: str, *, done_steps: int) -> None:
        """Go on after `done_steps` steps of earlier attempts."""
        from tensorboardX import SummaryWriter  # noqa: PLC0415  (a second, on a thread where nobody waits)

        self._storage, self._prefix = storage, f"logs/tensorboard/{stage}"
        self._folder = TemporaryDirectory(prefix="llava-events-")
        self._writer = SummaryWriter(self._folder.name, purge_step=done_steps + 1 if done_steps else None)
        self._shown_at = time.monotonic()

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note a step; once a minute others see it, too."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        if time.monotonic() - self._shown_at >= _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Store the file as it is; what the writer still holds comes the next time."""
        self._shown_at = time.monotonic()
        self._writer.flush()
        self._store()

    def close(self) -> None:
        """Store the whole file."""
        self._writer.close()
        self._store()
        self._folder.cleanup()

    def _store(self) -> None:
        for file in Path(self._folder.name).iterdir():
            self._storage.write(f"{self._prefix}/{file.name}", file.read_bytes())
