"""How the parts of an operator process hang together: watch, queue, workers, lease, and what ends them all."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from types import FrameType
from typing import Final

from llava_contract import causes
from llava_operator.backends.pod_admission import Approvals
from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.backends.pytorchjob import PyTorchJobBackend
from llava_operator.backends.rendering import PodSettings
from llava_operator.bell import Bell
from llava_operator.census import Census
from llava_operator.cluster_lease import ClusterLease
from llava_operator.cluster_resources import ClusterResources
from llava_operator.core.decision import Decision, Rest
from llava_operator.core.job import Key
from llava_operator.errors import InvalidSpec, Refused, SpecRefused
from llava_operator.health import serve
from llava_operator.kinds import await_kinds
from llava_operator.kube import connect
from llava_operator.lease import Fence, LeaseLoop
from llava_operator.looking import Looks
from llava_operator.metrics import Metrics
from llava_operator.readings import Readings
from llava_operator.reconcile import reconcile
from llava_operator.remembered import Remembered
from llava_operator.settings import Settings
from llava_operator.store import Store
from llava_operator.watch import Told, watch
from llava_operator.workqueue import WorkQueue, start_workers

__all__ = ["run_operator"]

_LOG: Final = logging.getLogger("llava_operator")
_STUCK_S: Final = 60.0
_SILENT_S: Final = 30.0
"""The lease loop looks every 2 s, and its two calls take 5 s each at most."""
_LEAVE_S: Final = 20.0
_LISTEN_S: Final = 60.0


def run_operator(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; gives the exit code. A lost lease ends the process on the spot."""
    with Bell() as bell:
        process = _Process(settings, bell)
        asked: list[int] = []

        def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a handler
            asked.append(number)
            bell.ring()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)
        process.start()
        while not asked and not process.is_broken:
            bell.wait(_LISTEN_S)
        return process.leave()


class _Process:
    """One replica."""

    def __init__(self, settings: Settings, bell: Bell) -> None:
        self._settings, self._bell = settings, bell
        self._fence = Fence(time.monotonic)
        self._store = Store(time.monotonic)
        self._queue: WorkQueue[Key] = WorkQueue(time.monotonic)
        self._readings = Readings(self._queue.add, time.monotonic)
        self._approvals = Approvals(time.monotonic)
        self._stop = threading.Event()
        self._broken = threading.Event()
        self._is_listed = False
        self._is_leading = False
        times = settings.lease_times
        self._metrics = Metrics(queue_depth=self._queue.depth, is_leader=lambda: self._lease.is_leader)
        unfenced = replace(connect(request_timeout_s=times.request_timeout_s), on_asked=self._metrics.asked)
        # The next look shall not decide from what this one has changed; the watch comes a moment later.
        self._cluster = replace(unfenced, may_write=self._fence.check, on_written=self._store.learn)
        self._warnings = PodWarnings(self._cluster, time.monotonic)
        self._memory = Remembered(self._cluster, self._store)
        self._census = Census(self._cluster, self._store, namespaces=settings.namespaces, every_s=settings.resync_s)
        lease = ClusterLease(unfenced, settings.own_namespace, name=settings.lease_name, times=times)
        self._lease = LeaseLoop(lease, self._fence, identity=settings.identity, clock=time.monotonic, times=times)
        self._threads: list[threading.Thread] = []
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Start every thread; workers wait until all kinds are listed and this replica leads."""
        self._server = serve(self._settings.port, metrics=self._metrics.text, problem=self._problem)
        _LOG.info("started", extra={"told": {"identity": self._settings.identity, "port": self._server.server_port}})
        looks = Looks(self._queue, self._look, tally=self._metrics, resync_s=self._settings.resync_s)
        self._threads = start_workers(self._queue, looks, count=self._settings.num_workers)
        self._readings.start()
        self._guarded("watch", self._watch)
        self._guarded("census", lambda: self._census.run(self._stop, self._wake))
        self._beating = self._guarded(
            "lease", lambda: self._lease.run(self._stop, on_lead=self._on_lead, on_loss=_exit_at_once)
        )

    @property
    def is_broken(self) -> bool:
        """Whether a thread ended that should not have."""
        return self._broken.is_set()

    def leave(self) -> int:
        """Finish what is being looked at, give the lease back, and say with which code to exit."""
        self._queue.close()
        self._readings.close()
        until = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._stop.set()
        self._beating.join(_LEAVE_S)
        if not any(thread.is_alive() for thread in (*self._threads, self._beating)):
            self._lease.release()
        if self._server is not None:
            self._server.shutdown()
        return causes.UNEXPECTED.exit_code if self._broken.is_set() else 0

    def _watch(self) -> None:
        if not await_kinds(self._cluster, self._stop):
            return
        told = Told(self._wake, self._on_listed, self._metrics.asked)
        watch(self._store, told, namespaces=self._settings.namespaces, stop=self._stop)

    def _wake(self, key: Key) -> None:
        for woken in (key, *self._store.followers(key)):
            self._queue.add(woken)

    def _on_listed(self) -> None:
        self._is_listed = True
        self._census.ask()
        self._open_when_ready()

    def _on_lead(self) -> None:
        _LOG.info("leading", extra={"told": {"identity": self._settings.identity}})
        self._is_leading = True
        self._open_when_ready()

    def _open_when_ready(self) -> None:
        # Two threads come here, each after its own claim became true: the later one sees both.
        if self._is_listed and self._is_leading:
            self._queue.open()

    def _look(self, key: Key) -> Decision | None:
        memory = self._memory
        resources = ClusterResources(memory, renew=memory.renew, identity=self._settings.identity)
        backend = PyTorchJobBackend(
            self._cluster,
            key.namespace,
            settings=PodSettings(image=self._settings.trainer_image),
            warnings=self._warnings,
            children=memory.family,
            progress=self._readings,
            approvals=self._approvals,
        )
        if self._store.is_doubted(key):
            memory.renew(key)
        try:
            decision = reconcile(key, resources, backend=backend, now=datetime.now(UTC))
        except SpecRefused as error:
            resources.refuse(key, error)
            decision = Rest()
        except (InvalidSpec, Refused) as error:
            resources.refuse(key, error)
            raise
        if self._store.job(key) is None:
            self._readings.forget(key)
            return None
        return decision

    def _problem(self) -> str | None:
        stuck_s, silent_s = self._queue.stuck_s(), self._lease.silent_s()
        if self._broken.is_set():
            return "a thread broke: see the log"
        if stuck_s > _STUCK_S:
            return f"no job was looked at for {stuck_s:.0f} s although one is due"
        return f"the lease loop has been silent for {silent_s:.0f} s" if silent_s > _SILENT_S else None

    def _guarded(self, name: str, run: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001  the process ends and is started anew
                _LOG.error(f"{name} broke", exc_info=error)
            if not self._stop.is_set():
                self._broken.set()
                self._bell.ring()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread


def _exit_at_once(reason: str) -> None:
    """Leave no thread the time to act for a leader that is none."""
    _LOG.error("leadership is lost", extra={"told": {"reason": reason}})
    logging.shutdown()
    os._exit(causes.INFRASTRUCTURE.exit_code)
