"""The command `llava-operator`: flags in, exit code out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from llava_operator.errors import OperatorError
from llava_operator.logs import log_as_json
from llava_operator.settings import parse

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the jobs of a cluster until SIGTERM."""
    settings = parse(sys.argv[1:] if argv is None else argv, os.environ)
    from llava_operator.cluster_run import run_operator  # noqa: PLC0415  (--help needs no kopf)

    log_as_json()
    try:
        return run_operator(settings)
    except OperatorError as error:
        print(f"llava-operator: {error}", file=sys.stderr)
        return error.cause.exit_code


if __name__ == "__main__":
    sys.exit(main())
