"""Write the image map of a cluster without containers: which program of this checkout stands for which image.

The checkout is bound to /opt/llava, because a pod's own /tmp may hide the place where it lies.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = "/opt/llava"
PYTHON = f"{INSIDE}/.venv/bin/python"
PACKAGES = ":".join(f"{INSIDE}/{room}" for room in ("crds", "operator", "trainer_image"))
USER = 65532
ENVIRONMENT = [
    f"PYTHONPATH={PACKAGES}", "PYTHONDONTWRITEBYTECODE=1", "OMP_WAIT_POLICY=passive", "HF_HUB_OFFLINE=1"
]  # fmt: skip


def images() -> dict[str, dict[str, object]]:
    """The trainer and the operator as they are in the checkout, a trainer that follows a script, and the S3 server."""
    manifest = (ROOT / "examples" / "s3" / "seaweedfs.yaml").read_text(encoding="utf-8")
    servers = re.findall(r"^\s*(?:- )?image:\s*\"?([^\s\"]+)", manifest, flags=re.MULTILINE)
    return {
        "llava-trainer:dev": _image([PYTHON, "-m", "llava_trainer.launch"], workspace=ROOT / "examples" / "tiny"),
        "llava-scripted:dev": _image([PYTHON, f"{INSIDE}/tests/support/scripted_pod.py"]),
        "llava-operator:dev": _image([PYTHON, "-m", "llava_operator"]),
        **{server: _image([f"{INSIDE}/.venv/bin/weed"]) for server in servers},
    }


def _image(entrypoint: list[str], *, workspace: Path | None = None) -> dict[str, object]:
    bind = {INSIDE: str(ROOT)} | ({"/workspace": str(workspace)} if workspace else {})
    return {"entrypoint": entrypoint, "env": ENVIRONMENT, "uid": USER, "bind": bind}


if __name__ == "__main__":
    print(json.dumps(images(), indent=1))
