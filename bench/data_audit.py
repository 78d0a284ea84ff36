"""What `llava audit` costs: rows of a file as large as a published one, then images, each as a command of its own.

Writes rows and images into a folder that goes again, and prints a table; fails when the rows miss a goal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

_NUM_TALKS = 2000
"""Different conversations; rows repeat them with their own ids and images."""


def write_rows(path: Path, num_rows: int) -> None:
    """Write image rows of one to eight exchanges, about 1,200 bytes each, as the published instructions have."""
    draw = random.Random(0)  # noqa: S311  (sizes, no secrets)
    words = [f"word{number}" for number in range(3000)]
    talks = [json.dumps(_talk(draw, words)) for _ in range(_NUM_TALKS)]
    with path.open("w") as file:
        for row in range(num_rows):
            image = f"{row:012d}.jpg"
            opening = "," if row else "["
            file.write(
                f'{opening}\n{{"id": "{row:012d}", "image": "{image}", "conversations": {talks[row % _NUM_TALKS]}}}'
            )
        file.write("]")


def _talk(draw: random.Random, words: list[str]) -> list[dict[str, str]]:
    turns = []
    for number in range(draw.choice((1, 1, 2, 3, 5, 8))):
        question = " ".join(draw.choices(words, k=10))
        turns.append({"from": "human", "value": f"<image>\n{question}" if number == 0 else question})
        turns.append({"from": "gpt", "value": " ".join(draw.choices(words, k=draw.choice((2, 5, 30, 80))))})
    return turns


def write_images(folder: Path, num_images: int) -> None:
    """Write JPEGs of 640 x 480 pixels and about 100 kB, as COCO has."""
    draw = random.Random(0)  # noqa: S311
    pictures = []
    for number in range(20):
        noise = Image.frombytes("RGB", (80, 60), draw.randbytes(80 * 60 * 3))
        noise.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number:012d}.jpg", quality=90)
        pictures.append((folder / f"{number:012d}.jpg").read_bytes())
    for number in range(num_images):
        (folder / f"{number:012d}.jpg").write_bytes(pictures[number % len(pictures)])


@dataclass(frozen=True)
class Cost:
    """What one command took: wall and CPU seconds, and memory at most."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def audit(*words: str) -> Cost:
    """Run `llava audit` as a user does."""
    command = [sys.executable, "-m", "llava_cli.main", "audit", *words]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  (our own command)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def read_alone_s(folder: Path) -> float:
    """Read every image without decoding it: what disk and page cache give."""
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(Path.read_bytes, sorted(folder.glob("*.jpg"))):
            pass
    return time.monotonic() - start


def lines(goals: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Measure and tell, line by line; the last line says whether the goals were met."""
    load = os.getloadavg()[0]
    yield f"{os.cpu_count()} cores, load {load:.1f} when it began, Python {sys.version.split()[0]}\n"
    yield "| | wall | CPU | at most | each second |"
    yield "|---|---|---|---|---|"
    write_rows(folder / "rows.json", goals.rows)
    size_mb = (folder / "rows.json").stat().st_size / 1e6
    rows = audit("--annotations", str(folder / "rows.json"), "--no-images")
    yield _line(f"{goals.rows:,} rows, {size_mb:,.0f} MB", rows, goals.rows, "rows")
    (folder / "images").mkdir()
    write_images(folder / "images", goals.images)
    write_rows(folder / "few.json", goals.images)
    images = audit("--annotations", str(folder / "few.json"), "--images", str(folder / "images"))
    yield _line(f"{goals.images:,} images with their rows", images, goals.images, "images")
    alone_s = read_alone_s(folder / "images")
    yield f"| the same files read without decoding | {alone_s:.1f} s | | | {goals.images / alone_s:,.0f} images |"
    is_met = rows.wall_s <= goals.seconds and rows.peak_mib <= goals.memory_mib
    yield f"\nGoals for rows ({goals.seconds:g} s, {goals.memory_mib:,.0f} MiB): {'met' if is_met else 'MISSED'}"


def _line(what: str, cost: Cost, count: int, unit: str) -> str:
    rate = f"{count / cost.wall_s:,.0f} {unit}"
    return f"| {what} | {cost.wall_s:.1f} s | {cost.cpu_s:.1f} s | {cost.peak_mib:,.0f} MiB | {rate} |"


def main() -> int:
    """Parse, measure, and say whether the goals were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=665_000)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=60.0, help="goal: wall time of the rows")
    parser.add_argument("--memory-mib", type=float, default=2048.0, help="goal: memory of the rows")
    goals = parser.parse_args()
    told = ""
    with tempfile.TemporaryDirectory(prefix="llava-bench-") as folder:
        for told in lines(goals, Path(folder)):
            print(told, flush=True)
    return 0 if told.endswith(" met") else 1


if __name__ == "__main__":
    sys.exit(main())
