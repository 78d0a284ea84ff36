"""Which kinds have to be served before any is watched.

kopf asks once what is served. It could go on asking, but would list every CRD of the cluster for it; so nothing is
watched before all kinds are there, and whoever installs the Training Operator last need not restart anything.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, Protocol

from llava_operator.errors import Transient
from llava_operator.store import Kind

__all__ = ["KindCalls", "await_kinds"]

_LOG: Final = logging.getLogger("llava_operator")
_AGAIN_S: Final = 5.0


class KindCalls(Protocol):
    """What is asked of an API server here."""

    def serves(self, kind: str) -> bool:
        """Say whether a kind is served. Raises Transient."""
        ...


def await_kinds(cluster: KindCalls, stop: threading.Event, *, again_s: float = _AGAIN_S) -> bool:
    """Return True as soon as every watched kind is served, False when `stop` was set before."""
    told = ""
    while not stop.is_set():
        lacking = _lacking(cluster)
        if not lacking:
            return True
        if lacking != told:
            _LOG.warning(f"waiting: {lacking}")
        told = lacking
        stop.wait(again_s)
    return False


def _lacking(cluster: KindCalls) -> str:
    """Say what is not there yet; empty when nothing is lacking."""
    try:
        missing = [kind.value for kind in Kind if not cluster.serves(kind.value)]
    except Transient as error:
        return str(error)
    if not missing:
        return ""
    cures = {
        "install the Training Operator": Kind.PYTORCH_JOB.value in missing,
        "install the chart's CRDs": missing != [Kind.PYTORCH_JOB.value],
    }
    cure = " and ".join(name for name, is_needed in cures.items() if is_needed)
    return f"the API server does not serve {', '.join(missing)}: {cure}"
