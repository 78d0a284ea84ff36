"""Who creates jobs and sees what becomes of them: all times are monotonic seconds of the bench's own clock."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from api import Api, Body
from players import Players

__all__ = ["ROOT", "Scene", "install"]

ROOT: Final = Path(__file__).parent.parent
_JOBS: Final = "/apis/llava.dev/v1alpha1/namespaces/{}/llavatrainjobs"
_GANGS: Final = "/apis/kubeflow.org/v1/namespaces/{}/pytorchjobs"
_KINDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OWNER_UID: Final = "llava.dev/owner-uid"
_WORD_EVERY_S: Final = 15


@dataclass
class Scene:
    """A namespace with jobs, and those who play their children."""

    api: Api
    namespace: str
    players: Players
    is_played: bool = True
    created_at: dict[str, float] = field(default_factory=dict)
    """When the API server had answered the creation of a job, by its UID."""
    child_at: dict[str, float] = field(default_factory=dict)
    """When a watch saw the first PyTorchJob of a job, by the job's UID."""
    phases: dict[str, str] = field(default_factory=dict)
    """By the name of the job."""
    playing: set[asyncio.Task[None]] = field(default_factory=set)

    async def burst(self, num_jobs: int, *, within_s: float) -> list[float]:
        """Create all jobs at once and wait until each has ended; gives the sorted waits for the first child."""
        body = _job()
        uids = await asyncio.gather(*(self._create(body, f"burst-{number}") for number in range(num_jobs)))
        await _until(lambda: self.num_over() == num_jobs, within_s=within_s, told=self.num_over)
        return self._waits_s(uids)

    async def steady(self, *, per_second: float, num_jobs: int) -> list[float]:
        """Create jobs at a steady rate, play none, and wait for each first child; gives the sorted waits."""
        self.is_played = False
        body, began, creating = _job(), time.monotonic(), []
        for number in range(num_jobs):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            creating.append(asyncio.create_task(self._create(body, f"steady-{number}")))
        uids = await asyncio.gather(*creating)
        await _until(lambda: self.child_at.keys() >= set(uids), within_s=60, told=lambda: len(self.child_at))
        return self._waits_s(uids)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Note what happens, and have new PyTorchJobs played; a watch that breaks ends what goes on inside."""
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(watch()) for watch in (self._watch_children, self._watch_jobs)]
            yield
            for watch in watches:
                watch.cancel()

    def num_over(self) -> int:
        """Count the jobs that have ended."""
        return sum(phase in ("Succeeded", "Failed") for phase in self.phases.values())

    def num_succeeded(self) -> int:
        """Count those that ended well."""
        return sum(phase == "Succeeded" for phase in self.phases.values())

    async def _create(self, body: Body, name: str) -> str:
        made = await self.api.post(_JOBS.format(self.namespace), {**body, "metadata": {"name": name}})
        uid = str(made["metadata"]["uid"])
        self.created_at[uid] = time.monotonic()
        return uid

    async def _watch_children(self) -> None:
        async for type_, gang in self.api.watch(_GANGS.format(self.namespace)):
            if type_ != "ADDED":
                continue
            self.child_at.setdefault(gang["metadata"]["labels"][_OWNER_UID], time.monotonic())
            if self.is_played:
                task = asyncio.create_task(self.players.play(gang))
                self.playing.add(task)
                task.add_done_callback(self._played)

    async def _watch_jobs(self) -> None:
        async for type_, job in self.api.watch(_JOBS.format(self.namespace)):
            if type_ != "DELETED":
                self.phases[job["metadata"]["name"]] = (job.get("status") or {}).get("phase", "")

    def _waits_s(self, uids: list[str]) -> list[float]:
        return sorted(self.child_at[uid] - self.created_at[uid] for uid in uids if uid in self.child_at)

    def _played(self, task: asyncio.Task[None]) -> None:
        self.playing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            print(f"a player failed: {error}", file=sys.stderr)


async def install(api: Api) -> None:
    """Bring our kinds, and a PyTorchJob that takes any spec where there is none, and wait until they are served."""
    kinds = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    kinds.append(yaml.safe_load((ROOT / "bench/pytorchjob.yaml").read_text()))
    for kind in kinds:
        await api.post(_KINDS, kind, accept=(409,))
        if kind["spec"]["group"] == "llava.dev":
            # An older one that was there would silently drop new fields.
            await api.patch(f"{_KINDS}/{kind['metadata']['name']}", {"spec": kind["spec"]})
    for kind in kinds:
        while not _is_served(await api.get(f"{_KINDS}/{kind['metadata']['name']}")):
            await asyncio.sleep(0.2)


def _is_served(kind: Body) -> bool:
    conditions = (kind.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _job() -> Body:
    return dict(yaml.safe_load((ROOT / "examples/tiny/llava-finetune.yaml").read_text()))


async def _until(claim: Callable[[], bool], *, within_s: float, told: Callable[[], int]) -> None:
    """Wait for a claim, not for ever, and say now and then how far it is."""
    until, next_word = time.monotonic() + within_s, time.monotonic() + _WORD_EVERY_S
    while not claim() and time.monotonic() < until:
        if time.monotonic() > next_word:
            next_word = time.monotonic() + _WORD_EVERY_S
            print(f"... {told()}", file=sys.stderr)
        await asyncio.sleep(0.2)
