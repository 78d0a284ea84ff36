"""`llava audit`: every bad row of a data set, by file and row."""

from __future__ import annotations

import argparse

from llava_cli.source_arguments import add_source_arguments, named_source
from llava_contract import causes

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_source_arguments(parser)
    parser.add_argument("--no-images", action="store_true", help="check the rows only and open no image")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    """Print what is wrong or odd; exit 12 where there is a bad row."""
    from llava_trainer.data.audit import audit  # noqa: PLC0415  (--help stays quick)

    found = audit([named_source(args)], check_images=not args.no_images)
    print(found.to_json() if args.json else found)
    return causes.BAD_DATA.exit_code if found.bad_rows else causes.SUCCEEDED.exit_code
