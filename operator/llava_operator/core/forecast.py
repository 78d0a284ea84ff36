"""How a time that is left is written for people."""

from __future__ import annotations

__all__ = ["duration_text"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def duration_text(seconds: float) -> str:
    """Write seconds in at most two units: 45s, 12m, 2h10, 3d04h."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02d}"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02d}h"
