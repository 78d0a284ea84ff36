"""Which processes the ranks of a launch are."""

from __future__ import annotations

from pathlib import Path

from support.training_job import Running


def ranks_of(running: Running) -> dict[int, int]:
    """Rank to process id, as the ranks' environments tell."""
    mark, found = f"LLAVA_RESULT_FILE={running.folder / 'result.json'}", {}
    for process in Path("/proc").iterdir():
        try:
            entries = (process / "environ").read_text().split("\0") if process.name.isdigit() else []
        except OSError:
            continue
        rank = next((entry.removeprefix("RANK=") for entry in entries if entry.startswith("RANK=")), None)
        if mark in entries and rank is not None:
            found[int(rank)] = int(process.name)
    return found
