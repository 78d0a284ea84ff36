"""`llava validate`: the verdict on job files, before anything else is asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from llava_contract import causes
from llava_contract.validate import validate_file

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="job files")


def execute(args: argparse.Namespace) -> int:
    """Print a line a problem, or that a file is good; exit 10 when any file has a problem."""
    num_problems = 0
    for file in args.files:
        problems = validate_file(file)
        num_problems += len(problems)
        print("\n".join(f"{file}: {problem}" for problem in problems) or f"{file}: valid")
    return causes.INVALID_SPEC.exit_code if num_problems else causes.SUCCEEDED.exit_code
