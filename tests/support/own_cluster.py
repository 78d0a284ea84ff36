"""A control plane that no other test uses: for what is installed once in a cluster, or sees all of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.tree import ROOT

_KIT = Path(os.environ.get("LLAVA_CLUSTER_KIT", ROOT.parent / "shared" / "cluster"))


@contextmanager
def own_cluster(*, network: int) -> Iterator[Path]:
    """Give its KUBECONFIG: of one that the kit starts, or of a cluster that LLAVA_TEST_ALONE says is nobody else's.

    `network` is the kit's number for its addresses: one that no other cluster has at that time, or its routes would go.
    """
    if os.environ.get("LLAVA_TEST_ALONE"):
        yield Path(os.environ["KUBECONFIG"])
        return
    home = Path(os.environ.get("LLAVA_CLUSTER_HOME", "~/.cache/llava-cluster")).expanduser()
    if not (_KIT / "up.sh").exists() or not (home / "bin" / "testcluster").exists():
        pytest.skip("needs a cluster of its own: set LLAVA_TEST_ALONE=1 when nobody else uses that of KUBECONFIG")
    environment = {**os.environ, "NETID": str(network)}
    made = subprocess.run([_KIT / "up.sh"], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    kubeconfig = Path(made.stdout.strip())
    try:
        yield kubeconfig
    finally:
        subprocess.run([_KIT / "down.sh", "-r", kubeconfig.parent], check=True, timeout=60)
