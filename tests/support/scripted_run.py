"""`llava run` with the scripted trainer for the real one: `scripted_run.py SCRIPT.json FILE.yaml DIR [--new]`."""

from __future__ import annotations

import sys
from pathlib import Path

from llava_cli.main import report
from llava_cli.run_command import RunRequest, run_job

TRAINER = Path(__file__).with_name("scripted_trainer.py")


def main(script: str, file: str, folder: str, *flags: str) -> int:
    request = RunRequest(Path(file), Path(folder), is_new="--new" in flags)
    try:
        return run_job(request, command=(sys.executable, str(TRAINER), script))
    except Exception as error:  # noqa: BLE001  as main does
        return report(error)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
