"""`llava evaluate`: an exported model answers a benchmark file and is scored."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llava_contract import causes
from llava_contract.run import EvaluateTask, JobKind, JobRef, RunConfig, Stage, StorageTarget
from llava_contract.v1alpha1.evaluation import BenchmarkSource

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder that `convert` exported")
    parser.add_argument(
        "--benchmark", type=Path, required=True, metavar="FILE.tsv", help="benchmark in MMBench's format"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where answers and scores are written")
    parser.add_argument(
        "--batch-size", type=_batch_size, default=16, metavar="N", help="questions a batch (changes no answer)"
    )


def _batch_size(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Run the evaluate stage and print what it scored."""
    from llava_operator.stage_run import run_stage  # noqa: PLC0415  (--help stays quick)

    result = run_stage(run_config(args), args.out)
    if result.exit_code:
        print(f"llava: {result.message}", file=sys.stderr)
        return result.exit_code
    for name, fraction in sorted(result.results.items()):
        print(f"{name:60} {fraction:7.1%}")
    print(f"report: {result.artifacts['report']}")
    return causes.SUCCEEDED.exit_code


def run_config(args: argparse.Namespace) -> RunConfig:
    """Say what the stage must do; the benchmark is named after its file."""
    task = EvaluateTask(
        model_uri=str(args.model.resolve()),
        prompt_template=None,
        benchmarks=[BenchmarkSource(name=args.benchmark.stem, uri=str(args.benchmark.resolve()))],
        batch_size=args.batch_size,
        max_new_tokens=100,
        minimum_accuracy=None,
    )
    return RunConfig(
        job=JobRef(kind=JobKind.EVAL, namespace="local", name="evaluate", uid="local"),
        stage=Stage.EVALUATE,
        attempt=1,
        num_ranks=1,
        storage=StorageTarget(uri=str(args.out.resolve())),
        hang_timeout_seconds=1800,
        task=task,
    )
