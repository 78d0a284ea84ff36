"""Write the image map of a cluster without containers: which program of this checkout stands for which image."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
USER = 65532
QUIET = ["OMP_WAIT_POLICY=passive", "PYTHONDONTWRITEBYTECODE=1", "HF_HUB_OFFLINE=1"]


def images() -> dict[str, dict[str, object]]:
    """The trainer and the operator as they are in the checkout, a trainer that follows a script, and the S3 server."""
    python = str(BIN / "python")
    manifest = (ROOT / "examples" / "s3" / "seaweedfs.yaml").read_text(encoding="utf-8")
    servers = re.findall(r"^\s*(?:- )?image:\s*\"?([^\s\"]+)", manifest, flags=re.MULTILINE)
    return {
        "llava-trainer:dev": {
            "entrypoint": [python, "-m", "llava_trainer.launch"],
            "env": QUIET,
            "uid": USER,
            "bind": {"/workspace": str(ROOT / "examples" / "tiny")},
        },
        "llava-scripted:dev": {
            "entrypoint": [python, str(ROOT / "tests" / "support" / "scripted_pod.py")],
            "env": QUIET,
            "uid": USER,
        },
        "llava-operator:dev": {"entrypoint": [str(BIN / "llava-operator")], "env": QUIET, "uid": USER},
        **{server: {"entrypoint": [str(BIN / "weed")], "uid": USER} for server in servers},
    }


if __name__ == "__main__":
    print(json.dumps(images(), indent=1))
