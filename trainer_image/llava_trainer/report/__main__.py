"""`python -m llava_trainer.report DIR` (or s3://...) writes a job's page and plots anew, however far it came."""

import sys

from llava_trainer.errors import LlavaError
from llava_trainer.report.collect import collect
from llava_trainer.report.page import write_report
from llava_trainer.storage import open_storage


def main(argv: list[str]) -> int:
    """Print where the page lies; the exit code is that of the cause."""
    if len(argv) != 1:
        print("Usage: python -m llava_trainer.report DIR", file=sys.stderr)
        return 2
    try:
        storage = open_storage(argv[0], must_exist=True)
        uri = write_report(storage, collect(storage))
    except LlavaError as error:
        print(error, file=sys.stderr)
        return error.cause.exit_code
    print(storage.place(uri))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
