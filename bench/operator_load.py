"""A thousand jobs at once, then twenty a second: what the operator costs, and how long a child takes to come.

KUBECONFIG names an API server that needs neither nodes nor a Training Operator: `players.py` plays both. Missing kinds
are installed. Prints one table and fails when a goal is missed; the namespace is left for the cluster to delete.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import uuid
from pathlib import Path

from api import Api
from operator_process import Operator
from players import Players
from scene import Scene, install
from table import Moment, p99_s, phase_lines, wait_lines


async def measure(goals: argparse.Namespace, folder: Path) -> bool:
    """Run both phases and print what they cost; gives whether every goal was met."""
    async with Api(num_at_once=goals.at_once) as api:
        await install(api)
        namespace = f"bench-{uuid.uuid4().hex[:6]}"
        await api.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        scene = Scene(api, namespace, Players(api, namespace, stage_s=goals.stage_seconds))
        operator = Operator.start(namespace, folder / "operator.log")
        try:
            async with scene.watched():
                await asyncio.to_thread(operator.wait_until, "leading")
                return await _measure(goals, scene, operator)
        finally:
            print(f"operator left with   {operator.end():8d}, {operator.complaints()}")
            await api.delete(f"/api/v1/namespaces/{namespace}")


async def _measure(goals: argparse.Namespace, scene: Scene, operator: Operator) -> bool:
    start = await Moment.take(operator, scene.api)
    burst_s = await scene.burst(goals.jobs, within_s=goals.limit_seconds)
    middle = await Moment.take(operator, scene.api)
    await asyncio.to_thread(operator.rest)
    calm = await Moment.take(operator, scene.api)
    num_good, num_steady = scene.num_succeeded(), int(goals.rate * goals.steady_seconds)
    steady_s = await scene.steady(per_second=goals.rate, num_jobs=num_steady)
    end = await Moment.take(operator, scene.api)
    lines = [
        f"jobs Succeeded       {num_good:8d} of {goals.jobs}, in {scene.players.num_attempts} attempts",
        f"operator when idle   {start.rss_mib:8.0f} MiB",
        *phase_lines(f"{goals.jobs} jobs at once, driven to their end", start, middle, num_jobs=goals.jobs),
        *wait_lines("first child", burst_s),
        *phase_lines(f"{goals.rate:g} jobs a second, first child only", calm, end, num_jobs=num_steady),
        *wait_lines("first child", steady_s),
        "",
    ]
    print("\n".join(lines))
    is_small, is_prompt = middle.peak_mib <= goals.memory_mib, p99_s(steady_s) <= goals.p99_seconds
    return bool(num_good == goals.jobs and is_small and is_prompt)


def main() -> int:
    """Parse, measure, and say whether the goals were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="jobs a second in the steady phase")
    parser.add_argument("--steady-seconds", type=float, default=30.0)
    parser.add_argument("--stage-seconds", type=float, default=1.0, help="how long each stage runs")
    parser.add_argument("--limit-seconds", type=float, default=780.0, help="of the first phase")
    parser.add_argument("--memory-mib", type=float, default=300.0, help="goal: operator's memory in the first phase")
    parser.add_argument("--p99-seconds", type=float, default=2.0, help="goal: wait for a child in the steady phase")
    parser.add_argument("--at-once", type=int, default=16, help="requests of the bench under way at a time")
    goals = parser.parse_args()
    if not os.environ.get("KUBECONFIG"):
        parser.error("KUBECONFIG names no cluster")
    print(f"load before          {os.getloadavg()[0]:8.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        is_good = asyncio.run(measure(goals, Path(folder)))
    print(f"load after           {os.getloadavg()[0]:8.1f}\ngoals                {'met' if is_good else 'MISSED'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
