"""The repository as the house tests see it: tracked Python files, their functions and their lengths."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("crds/llava_contract", "operator/llava_cli", "operator/llava_operator", "trainer_image/llava_trainer")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git tracks or would track; every file where this is no checkout (a source archive)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        return tuple(sorted(path for path in ROOT.rglob("*") if path.is_file()))
    return tuple(sorted(ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()))


def python_files(*roots: str) -> tuple[Path, ...]:
    """Python files below the given folders; all of them when none is given."""
    wanted = tuple(str(ROOT / root) + "/" for root in roots)
    ours = (path for path in tracked_files() if path.suffix == ".py")
    return tuple(path for path in ours if not roots or str(path).startswith(wanted))


@dataclass(frozen=True)
class Function:
    """One function and how long it is, docstring included."""

    name: str
    num_lines: int
    num_parameters: int


def functions(path: Path) -> tuple[Function, ...]:
    """Every function and method of a file, nested ones too."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return tuple(
        Function(
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
            (node.end_lineno or node.lineno) - node.lineno + 1,
            sum(argument.arg not in ("self", "cls") for argument in (*node.args.posonlyargs, *node.args.args)),
        )
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
