"""`llava audit`: every bad row of a data set, by file and row."""

from __future__ import annotations

import argparse
from pathlib import Path

from llava_contract import causes

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--annotations", type=Path, required=True, metavar="A.json", help="JSON array or JSONL of rows")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder that the rows' image paths start from")
    parser.add_argument("--no-images", action="store_true", help="check the rows only and open no image")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    """Print what is wrong or odd; exit 12 where there is a bad row."""
    from llava_trainer.data.audit import Source, audit  # noqa: PLC0415  (--help stays quick)

    found = audit([Source(args.annotations, args.images)], check_images=not args.no_images)
    print(found.to_json() if args.json else found)
    return causes.BAD_DATA.exit_code if found.bad_rows else causes.SUCCEEDED.exit_code
