"""Where a checkpoint lies: every step, attempt and start of a gang has a prefix of its own; no two writers share one.

checkpoints/<stage>/step-<n>/<job uid>-a<attempt>-<incarnation>/. The incarnation is drawn anew whenever a gang starts:
a gang that everyone believes dead can only ever write under its own name.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

__all__ = ["MANIFEST", "Place", "draw_incarnation", "stage_prefix"]

MANIFEST: Final = "MANIFEST.json"
_PLACE: Final = re.compile(
    r"(?:^|/)checkpoints/(?P<stage>[a-z]+)/step-(?P<step>\d+)"
    r"/(?P<uid>[^/]+)-a(?P<attempt>\d+)-(?P<incarnation>[0-9a-f]+)(?:/|$)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """The name of one checkpoint."""

    stage: str
    step: int
    uid: str
    attempt: int
    incarnation: str

    @classmethod
    def parse(cls, path: str) -> Place | None:
        """Read the place out of the path of a checkpoint or of a file in it; None for any other path."""
        found = _PLACE.search(path)
        if found is None:
            return None
        return cls(found["stage"], int(found["step"]), found["uid"], int(found["attempt"]), found["incarnation"])

    @property
    def path(self) -> str:
        """The checkpoint's folder, relative to the job's storage."""
        return f"{stage_prefix(self.stage)}/step-{self.step:08d}/{self.uid}-a{self.attempt}-{self.incarnation}"


def stage_prefix(stage: str) -> str:
    """The folder of all checkpoints of a stage, relative to the job's storage."""
    return f"checkpoints/{stage}"


def draw_incarnation() -> str:
    """Draw the name of one start of a gang; rank 0 draws, the others are told."""
    return secrets.token_hex(4)
