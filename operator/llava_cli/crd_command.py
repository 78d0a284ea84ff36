"""`llava crd`: the custom resource definitions, ready for `kubectl apply -f -`."""

from __future__ import annotations

import argparse

from llava_contract import causes, crd

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    del parser  # it has none


def execute(args: argparse.Namespace) -> int:
    """Print both definitions as one YAML stream."""
    del args
    print(crd.as_yaml(), end="")
    return causes.SUCCEEDED.exit_code
