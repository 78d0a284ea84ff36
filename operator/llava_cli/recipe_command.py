"""`llava recipe list | show NAME`: the published recipes and what they mean."""

from __future__ import annotations

import argparse

from llava_contract import causes, recipe_text

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show NAME")
    actions.add_parser("list", help="name every recipe")
    show = actions.add_parser("show", help="print the effective spec of a recipe as YAML")
    show.add_argument("name")


def execute(args: argparse.Namespace) -> int:
    """Print the list, or one recipe."""
    print(recipe_text.listing() if args.action == "list" else recipe_text.show(args.name), end="")
    return causes.SUCCEEDED.exit_code
