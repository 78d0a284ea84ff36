"""What the bench says: clocks and counters of one moment, and what lies between two of them as lines of text."""

from __future__ import annotations

import re
import resource
import statistics
import time
from collections import Counter
from dataclasses import dataclass

from api import Api
from operator_process import Operator

__all__ = ["Moment", "p99_s", "phase_lines", "wait_lines"]


@dataclass(frozen=True)
class Moment:
    """Clocks and counters of everybody who works; CPU in seconds, memory in MiB, of the operator's whole process."""

    at: float
    operator_cpu_s: float
    api_server_cpu_s: float
    own_cpu_s: float
    requests: Counter[tuple[str, str]]
    rss_mib: float
    peak_mib: float

    @classmethod
    async def take(cls, operator: Operator, api: Api) -> Moment:
        """Read them all."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        found = re.search(r"^process_cpu_seconds_total (\S+)", await api.text("/metrics"), re.MULTILINE)
        rss_mib, peak_mib = operator.memory_mib()
        return cls(
            at=time.monotonic(),
            operator_cpu_s=operator.cpu_s(),
            api_server_cpu_s=float(found[1]) if found else 0.0,
            own_cpu_s=own.ru_utime + own.ru_stime,
            requests=operator.requests(),
            rss_mib=rss_mib,
            peak_mib=peak_mib,
        )


def phase_lines(title: str, before: Moment, after: Moment, *, num_jobs: int) -> list[str]:
    """Say what a phase cost."""
    asked = after.requests - before.requests
    operator_s = after.operator_cpu_s - before.operator_cpu_s
    return [
        f"\n## {title}\n",
        f"wall time            {after.at - before.at:8.1f} s",
        f"operator's memory    {after.peak_mib:8.0f} MiB at most so far, {after.rss_mib:.0f} at the end",
        f"operator's CPU       {operator_s:8.1f} s, {1000 * operator_s / num_jobs:.0f} ms a job",
        f"API server's CPU     {after.api_server_cpu_s - before.api_server_cpu_s:8.1f} s",
        f"bench's own CPU      {after.own_cpu_s - before.own_cpu_s:8.1f} s",
        f"operator's requests  {asked.total():8d}, {asked.total() / num_jobs:.1f} a job",
        *(
            f"  {verb:6} {kind:22} {count:7d}, {count / num_jobs:.2f} a job"
            for (verb, kind), count in sorted(asked.items(), key=lambda item: -item[1])
        ),
    ]


def wait_lines(title: str, waits_s: list[float]) -> list[str]:
    """Say how long children took to come; `waits_s` is sorted."""
    if len(waits_s) < 2:
        return [f"{title}: too few to tell"]
    cuts = statistics.quantiles(waits_s, n=100, method="inclusive")
    return [f"{title}: p50 {cuts[49]:.2f} s, p90 {cuts[89]:.2f} s, p99 {cuts[98]:.2f} s, longest {waits_s[-1]:.2f} s"]


def p99_s(waits_s: list[float]) -> float:
    """Give the wait that 99 of 100 do not exceed."""
    return statistics.quantiles(waits_s, n=100, method="inclusive")[98] if len(waits_s) > 1 else float("inf")
