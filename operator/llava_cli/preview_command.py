"""`llava preview`: rows as the model sees them."""

from __future__ import annotations

import argparse
from pathlib import Path

from llava_cli.source_arguments import add_source_arguments, named_source
from llava_contract import causes

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_source_arguments(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="folder with a tokenizer")
    parser.add_argument("--template", required=True, metavar="NAME", help="prompt template, such as vicuna")
    parser.add_argument("--max-length", type=_count, default=1472, metavar="N", help="tokens a row, an image is one")
    parser.add_argument("-n", type=_count, default=10, metavar="N", help="rows to show; 0 shows all")
    parser.add_argument("--no-images", action="store_true", help="open no image")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object a row")
    output.add_argument("--html", type=Path, metavar="FILE", help="write a page with the tokens coloured by loss mask")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 up")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Print the rows or write the page."""
    from llava_trainer.data.preview import as_html, as_text, preview_rows  # noqa: PLC0415  (--help stays quick)
    from llava_trainer.data.sample import Wording  # noqa: PLC0415
    from llava_trainer.data.template import get_template  # noqa: PLC0415
    from llava_trainer.data.tokenizer import Tokenizer  # noqa: PLC0415
    from llava_trainer.errors import StorageUnwritable  # noqa: PLC0415

    tokenizer, template = Tokenizer(args.tokenizer), get_template(args.template)
    template.check(tokenizer)
    wording = Wording(template, tokenizer, args.max_length)
    source = named_source(args)
    rows = preview_rows(source, wording, limit=args.n or None, with_images=not args.no_images)
    if args.html:
        page = as_html(rows, tokenizer, title=source.annotations.name)
        try:
            args.html.write_text(page, encoding="utf-8")
        except OSError as error:
            raise StorageUnwritable(
                f"{args.html} cannot be written ({error.strerror}); choose another --html."
            ) from error
        print(args.html)
        return causes.SUCCEEDED.exit_code
    for row in rows:
        print(row.to_json() if args.json else as_text(row, tokenizer))
    return causes.SUCCEEDED.exit_code
