"""How a command line names one source of rows: by its files, or by the root of a published tree."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llava_contract.run import Stage
from llava_contract.v1alpha1.data import Layout

if TYPE_CHECKING:
    from llava_trainer.data.audit import Source

__all__ = ["add_source_arguments", "named_source"]


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `named_source` reads."""
    parser.add_argument("--annotations", metavar="A.json", help="JSON array or JSONL of rows; a path or URI")
    parser.add_argument("--images", metavar="DIR", help="folder that the rows' image paths start from")
    parser.add_argument("--layout", type=Layout, choices=list(Layout), help="look for published data below --root")
    parser.add_argument("--root", metavar="DIR", help="with --layout: folder of the published tree")
    parser.add_argument(
        "--stage",
        type=Stage,
        choices=[Stage.PRETRAIN, Stage.FINETUNE],
        default=Stage.FINETUNE,
        help="with --layout: the training stage whose rows are meant",
    )


def named_source(args: argparse.Namespace) -> Source:
    """The files that the arguments name, copied to this machine where they are URIs.

    Raises InvalidSpec where they name none or two, MissingInput for half a tree and what reading a storage raises.
    """
    from llava_trainer.data.audit import Source  # noqa: PLC0415  (--help stays quick)
    from llava_trainer.data.layout import find_published  # noqa: PLC0415
    from llava_trainer.errors import InvalidSpec  # noqa: PLC0415

    if (args.layout is None) != (args.root is None) or (args.annotations is None) == (args.layout is None):
        raise InvalidSpec("name rows by --annotations (and --images), or published data by --layout and --root.")
    if args.layout is None:
        return Source(_fetch(args.annotations), _fetch(args.images) if args.images else None)
    if args.images is not None:
        raise InvalidSpec("--layout finds its images below --root; leave --images out.")
    return find_published(args.layout, args.stage, root=args.root, fetch=_fetch)


def _fetch(uri: str) -> Path:
    """Find a path without the trainer's packages; only URIs need them."""
    from llava_trainer.errors import MissingInput, Unsupported  # noqa: PLC0415

    if "://" not in uri:
        if not Path(uri).exists():
            raise MissingInput(f"{uri}: not there; correct the path.")
        return Path(uri)
    try:
        from llava_trainer.storage import materialise  # noqa: PLC0415  (a base install has no obstore)
    except ModuleNotFoundError as error:
        raise Unsupported(f"{uri} needs the extra `trainer` of this package ({error.name} is missing).") from error
    return materialise(uri)
