"""Whether what status says is true: each look is compared with what trainers did and with what the cluster knows.

What the operator cannot know yet is no lie: a difference has to last longer than it takes to hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.journal import Entry, Journal

PHASE_S = 5.0
"""From when the API server knows how the pods are; up to 3 s were seen where six processes wanted each core."""
FIRST_WORD_S = 30.0
"""From when a job is there; an empty status says nothing false."""
PROGRESS_S = 35.0
"""Pods are asked for their progress every 30 s."""
FAREWELL_S = 15.0
"""For pods to be started, or to be gone."""
NOW = 0.0


@dataclass(frozen=True)
class Look:
    """All jobs and all pods of a namespace, seen between two moments."""

    began: float
    ended: float
    jobs: list[dict[str, Any]]
    pods: list[Any]

    def at_work(self, job: str, stage: str, attempt: int) -> int:
        """Count the pods of an attempt that run, or have done their part while the others run."""
        wanted = {"llava.dev/job-name": job, "llava.dev/stage": stage, "llava.dev/attempt": str(attempt)}
        mine = [pod for pod in self.pods if wanted.items() <= pod.metadata.labels.items()]
        working = [pod for pod in mine if pod.status.phase in ("Running", "Succeeded")]
        return sum(not pod.metadata.deletion_timestamp for pod in working)

    def alive(self, job: str) -> list[str]:
        """Describe the pods of a job that are not over."""
        mine = [pod for pod in self.pods if pod.metadata.labels.get("llava.dev/job-name") == job]
        return [
            f"{pod.metadata.name} {pod.status.phase} made {pod.metadata.creation_timestamp:%X} "
            f"to be gone at {pod.metadata.deletion_timestamp}"
            for pod in mine
            if pod.status.phase in ("Pending", "Running")
        ]


@dataclass
class Truth:
    """Finds lies in one look after the other."""

    journal: Journal
    num_workers: int
    lies: list[str] = field(default_factory=list)
    num_looks: int = 0
    latest_s: dict[str, float] = field(default_factory=dict)
    """For how long a difference of a kind lasted at most."""
    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    def compare(self, look: Look) -> None:
        """Take one more look."""
        self.num_looks += 1
        wrong = {
            (str(job["metadata"]["name"]), kind): grace for job in look.jobs for kind, grace in self._wrong(job, look)
        }
        self._since = {key: self._since.get(key, look.began) for key in wrong}
        for (name, kind), since in self._since.items():
            lasted_s = look.began - since
            self.latest_s[kind] = max(lasted_s, self.latest_s.get(kind, 0.0))
            if lasted_s > wrong[name, kind] or not wrong[name, kind]:
                said = next(job.get("status") for job in look.jobs if job["metadata"]["name"] == name)
                pods = "; ".join(look.alive(name))
                when = f"for {lasted_s:.1f} s, look {self.num_looks} at {look.began}"
                self.lies.append(f"{name}: {kind} {when}: pods [{pods}], status {said}")

    def _wrong(self, job: dict[str, Any], look: Look) -> Iterator[tuple[str, float]]:
        """Give each difference and for how long it is none."""
        status = job.get("status") or {}
        if not status:
            yield "says nothing", FIRST_WORD_S
            return
        name = str(job["metadata"]["name"])
        for stage in status["stages"]:
            yield from self._of_stage(name, stage, look)
        yield from self._of_progress(name, status, look)
        yield from self._of_phase(job, status, look)

    def _of_stage(self, name: str, stage: dict[str, Any], look: Look) -> Iterator[tuple[str, float]]:
        kinds = {kind: self.journal.of(name, kind, stage=stage["name"]) for kind in ("start", "commit", "end")}
        attempt, claimed = stage["attempt"], (stage.get("checkpoint") or {}).get("step", 0)
        if attempt < max((one.attempt for one in _before(kinds["start"], look.began)), default=0):
            yield "an attempt runs that status does not name", NOW
        if claimed and claimed not in {one.said["step"] for one in kinds["commit"]}:
            yield "a checkpoint that does not exist", NOW
        known = _before([one for one in kinds["commit"] if one.attempt == attempt], look.began - PROGRESS_S)
        # What was committed between the last answer and a sudden end, only the next attempt finds.
        if stage["state"] in ("Running", "Succeeded") and claimed < max((one.said["step"] for one in known), default=0):
            yield "a checkpoint that is not the newest", NOW
        if stage["state"] == "Succeeded" and not any(one.said["code"] == 0 for one in kinds["end"]):
            yield "a success that was none", NOW
        # The next attempt is named before it is made; running is another claim.
        if stage["state"] == "Running" and attempt > max((one.attempt for one in kinds["start"]), default=0):
            yield "Running before its trainers", FAREWELL_S

    def _of_progress(self, name: str, status: dict[str, Any], look: Look) -> Iterator[tuple[str, float]]:
        stage = next((one for one in status["stages"] if one["name"] == status.get("currentStage")), None)
        if stage is None or status["phase"] != "Running" or stage["state"] != "Running":
            return
        steps = self.journal.of(name, "step", stage=stage["name"], attempt=stage["attempt"])
        claimed = (status.get("progress") or {}).get("step", 0)
        if claimed > max((one.said["step"] for one in steps), default=0):
            yield "a step that was not made", NOW
        if claimed < max((one.said["step"] for one in _before(steps, look.began - PROGRESS_S)), default=0):
            yield "a step of long ago", NOW

    def _of_phase(self, job: dict[str, Any], status: dict[str, Any], look: Look) -> Iterator[tuple[str, float]]:
        name, phase = str(job["metadata"]["name"]), status["phase"]
        stage = next((one for one in status["stages"] if one["name"] == status.get("currentStage")), None)
        restarts = sum(one["restarts"] for one in status["stages"])
        if status["restarts"] != restarts:
            yield "restarts that are not those of its stages", NOW
        if phase in ("Suspended", "Succeeded", "Failed") and look.alive(name):
            yield f"{phase} while pods live", FAREWELL_S
        if job["spec"].get("runPolicy", {}).get("suspend") and phase not in ("Suspended", "Succeeded", "Failed"):
            yield "not suspended", PHASE_S
        if stage is None or phase not in ("Running", "Pending"):
            return
        size = self.num_workers if stage["name"] == "finetune" else 1
        is_whole = look.at_work(name, stage["name"], stage["attempt"]) == size
        if stage["state"] == "Running" and not is_whole:
            yield "Running without its pods", PHASE_S
        if stage["state"] == "Starting" and is_whole:
            yield "Starting although all pods run", PHASE_S


def _before(entries: list[Entry], moment: float) -> list[Entry]:
    return [entry for entry in entries if entry.time < moment]
