"""A Dockerfile read, and its build stages done again in a folder, where no image can be built.

FROM and what it brings are left out: a stage is done with this machine's Python and uv.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from support.tree import ROOT

_BASE = ("apt-get ", "pip install ", "python3 -m venv /opt/uv ")
"""Commands that only bring what this machine has: packages of the distribution, and uv."""
_HERE = ("PATH", "UV_LINK_MODE", "UV_COMPILE_BYTECODE")
"""Settings that only make an image smaller or its start quicker."""


@dataclass(frozen=True)
class Step:
    """One instruction."""

    word: str
    rest: str

    @property
    def sources(self) -> list[str]:
        """What a COPY takes from the repository; nothing when it takes it from another stage."""
        words = self.rest.split()
        return [] if self.word != "COPY" or words[0].startswith("--") else words[:-1]


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def rests(self, word: str) -> list[str]:
        """What stands after each instruction of a kind."""
        return [step.rest for step in self.steps if step.word == word]


def stages_of(path: Path) -> list[Stage]:
    """Read a Dockerfile."""
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", "", path.read_text()).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].steps.append(Step(word, rest.strip()))
    return stages


def lineage(stages: list[Stage], name: str) -> list[Stage]:
    """Give a stage after those that it is built on."""
    found = next((stage for stage in stages if stage.name == name), None)
    return [] if found is None else [*lineage(stages, found.base), found]


def replay(stages: list[Stage], name: str, *, root: Path) -> Path:
    """Do a stage, and those that it is built on, with `root` as the root of its file system; gives its last folder."""
    folder, environment = root, {**os.environ, "UV_PYTHON": sys.executable}
    environment["PATH"] = f"{ROOT / '.uv' / 'bin'}:{environment['PATH']}"
    for step in (step for stage in lineage(stages, name) for step in stage.steps):
        if step.word == "WORKDIR":
            folder = root / step.rest.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif step.word == "ENV":
            environment |= {key: value for key, value in _settings(step.rest) if key not in _HERE}
        elif step.word == "COPY":
            _copy(step, folder)
        elif step.word == "RUN" and not step.rest.startswith(_BASE):
            done = subprocess.run(
                step.rest, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{step.rest}\n{done.stderr}"
    return folder


def _settings(rest: str) -> Iterator[tuple[str, str]]:
    for setting in rest.split():
        key, _, value = setting.partition("=")
        yield key, value


def _copy(step: Step, folder: Path) -> None:
    target = folder / step.rest.split()[-1]
    for source in step.sources:
        if (ROOT / source).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "data")
            shutil.copytree(ROOT / source, target, ignore=left_out, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, target)


def is_sent(path: str, patterns: list[str]) -> bool:
    """Say whether .dockerignore lets a file go to the builder: the last pattern for it or a parent of it decides."""
    parts = PurePosixPath(path).parts
    places = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    sent = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        matches = [PurePosixPath(place).match(bare.removeprefix("**/")) for place in places]
        exact = [place == bare for place in places]
        if any(matches if "*" in bare else exact):
            sent = pattern.startswith("!")
    return sent
