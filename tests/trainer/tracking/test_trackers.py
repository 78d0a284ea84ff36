"""Curves beside the history: TensorBoard's files, W&B offline, MLflow over a file store, and trackers that fail."""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llava_contract.run import StorageTarget
from llava_contract.v1alpha1.tracking import MlflowSpec, WandbMode, WandbSpec
from llava_trainer.storage import Storage, open_storage
from llava_trainer.tracking.identity import RunIdentity
from llava_trainer.tracking.mlflow_run import MlflowRun
from llava_trainer.tracking.tensorboard import EventFiles
from llava_trainer.tracking.trackers import Trackers
from llava_trainer.tracking.wandb_run import WandbRun

IDENTITY = RunIdentity("uid-finetune", "team/demo/finetune", {"batchSize": 4, "llm": {"mode": "lora", "lora": None}})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(StorageTarget(uri=str(tmp_path / "job")))


class Listener:
    """Keeps what it was told, until it breaks."""

    def __init__(self, breaks_at: int = 0) -> None:
        self.told: list[int] = []
        self.breaks_at = breaks_at

    def add(self, step: int, scalars: Mapping[str, float]) -> None:  # noqa: ARG002  the port gives it
        if step == self.breaks_at:
            raise RuntimeError("the server is full\nand more")
        self.told.append(step)

    def flush(self) -> None:
        self.told.append(-1)

    def close(self) -> None:
        self.told.append(-2)


def test_everybody_is_told_in_order() -> None:
    one, other = Listener(), Listener()
    trackers = Trackers({"one": lambda: one, "other": lambda: other})
    trackers.add(1, {}), trackers.add(2, {}), trackers.flush(), trackers.close()
    assert one.told == other.told == [1, 2, -1, -2]


def test_who_fails_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> Listener:
        raise PermissionError("no key")

    good, bad = Listener(), Listener(breaks_at=2)
    trackers = Trackers({"refusing": refuse, "bad": lambda: bad, "good": lambda: good})
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            trackers.add(step, {})
        trackers.close()
    assert (bad.told, good.told) == ([1], [1, 2, 3, -2])
    assert [record.getMessage() for record in caplog.records] == [
        "refusing takes no numbers (no key); training goes on without it",
        "bad takes no numbers (the server is full); training goes on without it",
    ]


def test_who_does_not_answer_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    answered = threading.Event()
    stuck = Listener()
    stuck.flush = answered.wait  # type: ignore[method-assign,assignment]
    trackers = Trackers({"stuck": lambda: stuck}, farewell_s=0.1)
    trackers.flush(), trackers.add(1, {}), trackers.close()
    answered.set()
    assert [record.getMessage() for record in caplog.records] == ["stuck did not take the last numbers within 0.1 s"]


def events(data: bytes) -> Iterator[Any]:
    """Read TensorBoard's records: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    while data:
        (size,) = struct.unpack_from("<Q", data)
        yield Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


def curves(storage: Storage) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for item in storage.list("logs/tensorboard/finetune"):
        for event in events(storage.read(item.path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_files_hold_every_step(storage: Storage) -> None:
    files = EventFiles(storage, "finetune", done_steps=0)
    files.add(1, {"train/loss": 2.0}), files.add(2, {"train/loss": 1.5}), files.close()
    assert curves(storage) == {"train/loss": [(1, 2.0), (2, 1.5)]}


def test_tensorboard_is_told_which_steps_are_done_anew(storage: Storage) -> None:
    EventFiles(storage, "finetune", done_steps=6).close()
    (item,) = storage.list("logs/tensorboard/finetune")
    assert [event.step for event in events(storage.read(item.path)) if event.session_log.status] == [7]


def test_an_offline_run_of_wandb_lies_in_storage(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run = WandbRun(WandbSpec(project="llava", mode=WandbMode.OFFLINE), IDENTITY, storage=storage)
    run.add(1, {"train/loss": 2.0})
    run.close()
    files = {Path(item.path).name: item.size for item in storage.list("logs/wandb")}
    assert files["run-uid-finetune.wandb"] > 0


@pytest.fixture
def mlflow_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowSpec:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow's own store, without a server
    return MlflowSpec(tracking_uri=f"file://{tmp_path}/mlruns", experiment="llava")


def test_all_attempts_are_one_run_of_mlflow(mlflow_spec: MlflowSpec) -> None:
    from mlflow import MlflowClient

    for step in (1, 2):
        run = MlflowRun(mlflow_spec, IDENTITY)
        run.add(step, {"train/loss": 1.0 / step})
        run.close()
    client = MlflowClient(tracking_uri=mlflow_spec.tracking_uri)
    (found,) = client.search_runs([client.get_experiment_by_name("llava").experiment_id])
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert (found.data.params, found.info.status) == ({"batchSize": "4", "llm.mode": "lora"}, "FINISHED")
