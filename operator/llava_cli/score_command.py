"""`llava score`: both rules over raw answers, without torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llava_contract import causes

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("benchmark", type=Path, metavar="FILE.tsv", help="benchmark TSV with answers")
    parser.add_argument(
        "answers",
        type=Path,
        metavar="ANSWERS",
        help='JSON list in TSV order, JSONL {"index", "prediction"} or xlsx',
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--parity-na",
        action="store_true",
        help='drop options such as "None" and "NA", as pandas-based tools do',
    )


def execute(args: argparse.Namespace) -> int:
    """Print the scores."""
    from llava_trainer.scoring.scorereport import score_file  # noqa: PLC0415  (--help stays quick)

    report = score_file(args.benchmark, args.answers, parity_na=args.parity_na)
    if args.json:
        print(report.to_json())
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415

        Console().print(report.to_rich())
    else:
        print(report.to_table())
    return causes.SUCCEEDED.exit_code
