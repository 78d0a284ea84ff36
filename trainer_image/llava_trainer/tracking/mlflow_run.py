"""A stage as a run on an MLflow server: all attempts are one run, found again by a tag."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llava_contract.v1alpha1.tracking import MlflowSpec
from llava_trainer.tracking.identity import RunIdentity

__all__ = ["MlflowRun"]

_TAG: Final = "llava.dev/run"
_NAME_TAG: Final = "mlflow.runName"
_BATCH: Final = 500
"""Metrics in one request; the server takes a thousand."""
_MAX_VALUE: Final = 500
_EVERY_S: Final = 30.0


class MlflowRun:
    """A run; metrics are sent twice a minute."""

    def __init__(self, spec: MlflowSpec, identity: RunIdentity) -> None:
        """Begin the run or go on with it; raises what MLflow raises."""
        from mlflow import MlflowClient  # noqa: PLC0415  (seconds, only where a job asks for it)

        self._client = MlflowClient(tracking_uri=spec.tracking_uri)
        found = self._client.get_experiment_by_name(spec.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(spec.experiment)
        self._run_id = self._find(experiment, identity) or self._begin(experiment, identity)
        self._metrics: list[Any] = []
        self._sent_at = time.monotonic()

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note a step."""
        from mlflow.entities import Metric  # noqa: PLC0415  (imported already)

        now_ms = int(1000 * time.time())
        self._metrics += [Metric(name, value, now_ms, step) for name, value in scalars.items()]
        if len(self._metrics) >= _BATCH or time.monotonic() - self._sent_at >= _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what was noted."""
        self._sent_at = time.monotonic()
        while self._metrics:
            self._client.log_batch(self._run_id, metrics=self._metrics[:_BATCH])
            del self._metrics[:_BATCH]

    def close(self) -> None:
        """Send the rest, and let the run rest."""
        self.flush()
        self._client.set_terminated(self._run_id)

    def _find(self, experiment: str, identity: RunIdentity) -> str | None:
        found = self._client.search_runs([experiment], filter_string=f"tags.`{_TAG}` = '{identity.id}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _begin(self, experiment: str, identity: RunIdentity) -> str:
        from mlflow.entities import Param  # noqa: PLC0415  (imported already)

        run = self._client.create_run(experiment, tags={_TAG: identity.id, _NAME_TAG: identity.name})
        params = [Param(name, value[:_MAX_VALUE]) for name, value in _flat(identity.settings)]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", str(value)
