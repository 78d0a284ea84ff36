"""How settings read to people: durations, tunings, and every value by its dotted name, grouped by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llava_trainer.report.facts import SettingGroup

__all__ = ["duration", "grouped", "tuning"]


def duration(seconds: float) -> str:
    """Write a duration as people say it: 3.4 s, 2 min 05 s, 4 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def tuning(settings: Mapping[str, Any] | None) -> str | None:
    """Say what becomes of a tower in training; None where nobody told."""
    if not settings:
        return None
    lora = settings.get("lora") or {}
    words = {"frozen": "frozen", "full": "trained in full", "lora": "adapted by LoRA", "qlora": "adapted by QLoRA"}
    rank = f", rank {lora['rank']}" if "rank" in lora else ""
    return words.get(settings["mode"], str(settings["mode"])) + rank


def grouped(settings: Mapping[str, Any]) -> tuple[SettingGroup, ...]:
    """Put settings under the stage (or the part of the job) that they belong to, in their order; no group is empty."""
    alone = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    groups = [SettingGroup("job", tuple(_flat(alone)))]
    for name, value in settings.items():
        if isinstance(value, Mapping):
            groups.append(SettingGroup(name, tuple(_flat(value, f"{name}."))))
    return tuple(group for group in groups if group.rows)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting that has a value, by its dotted name."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list) and inner and isinstance(inner[0], Mapping):
            for number, item in enumerate(inner):
                yield from _flat(item, f"{prefix}{name}[{number}].")
        elif inner not in (None, [], {}):
            text = ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)
            yield f"{prefix}{name}", text
