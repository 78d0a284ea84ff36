"""Which word runs which command; a command's module is imported only when it is the one chosen."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from llava_contract import causes

__all__ = ["main"]


class CommandModule(Protocol):
    """What every command module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def execute(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code."""


@dataclass(frozen=True)
class Command:
    """One word of the command line and where it lives."""

    name: str
    module: str
    help: str


COMMANDS = (
    Command("run", "llava_cli.run_command", "run a whole job on this machine"),
    Command("validate", "llava_cli.validate_command", "say what is wrong with job files, as the API server would"),
    Command("recipe", "llava_cli.recipe_command", "list the published recipes, or show one as an effective spec"),
    Command("audit", "llava_cli.audit_command", "name every bad row of a data set"),
    Command("preview", "llava_cli.preview_command", "show rows as the model sees them"),
    Command("evaluate", "llava_cli.evaluate_command", "answer a benchmark file with an exported model and score it"),
    Command("score", "llava_cli.score_command", "score raw answers under both rules"),
    Command("crd", "llava_cli.crd_command", "print the custom resource definitions"),
)


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """Declare every command by name, and the arguments of the chosen one only."""
    parser = argparse.ArgumentParser(prog="llava", description="Train and score LLaVA models from one YAML file.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        sub.add_argument("--debug", action="store_true", help="show a traceback when something fails")
        if command.name == chosen:
            module = load(command)
            module.add_arguments(sub)
            sub.set_defaults(execute=module.execute)
    return parser


def load(command: Command) -> CommandModule:
    """Import a command's module."""
    return cast(CommandModule, import_module(command.module))


def main(argv: list[str] | None = None) -> int:
    """Run one command; a failure is one sentence on stderr and the exit code of its cause."""
    words = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(chosen).parse_args(words)
    try:
        return cast(int, args.execute(args))
    except KeyboardInterrupt:
        print("llava: interrupted", file=sys.stderr)
        return causes.INTERRUPTED.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left; say nothing more
        return causes.SUCCEEDED.exit_code
    except Exception as error:
        if args.debug:
            raise
        return report(error)


def report(error: Exception) -> int:
    """Print what failed and return the code of its cause; an error without a cause is a bug of ours."""
    cause: causes.Cause | None = getattr(error, "cause", None)
    if cause is None:
        print(f"llava: {type(error).__name__}: {error} (run again with --debug for the trace)", file=sys.stderr)
        return causes.UNEXPECTED.exit_code
    print(f"llava: {error}", file=sys.stderr)
    # The operator's own causes may have codes that no process can end with.
    return cause.exit_code if 0 < cause.exit_code < 256 else causes.UNEXPECTED.exit_code


if __name__ == "__main__":
    sys.exit(main())
