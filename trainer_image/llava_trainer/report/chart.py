"""How a loss trace becomes a drawing: SVG that takes its colours from the page, and a PNG for slides.

The SVG is written by hand: it follows light and dark, needs no import of seconds, and is equal for equal numbers.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from typing import Final

from llava_trainer.report.facts import Curve

__all__ = ["draw_png", "draw_svg", "fingerprint", "smooth"]

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_MAX_POINTS: Final = 1000  # more than pixels


def smooth(values: Sequence[float], *, share: float = 0.025) -> list[float]:
    """Exponential moving average whose memory is `share` of the trace (3 steps at least), unbiased at its start."""
    keep = 1 - 1 / max(3.0, share * len(values))
    total, weight, out = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out


def draw_svg(curve: Curve) -> str:
    """Draw raw and smoothed loss over optimizer steps; steps without a finite loss are left out."""
    rows = [row for row in curve.rows if math.isfinite(row.loss)]
    if not rows:
        return ""
    losses, smoothed = [row.loss for row in rows], smooth([row.loss for row in rows])
    held_out = [row for row in curve.validations if math.isfinite(row.loss) and rows[0].step <= row.step]
    every = [*losses, *(row.loss for row in held_out)]
    ticks = _ticks(min(0.0, *every) if min(every) < 0 else 0.0, max(every))
    low, high = ticks[0], ticks[-1]
    first, last = rows[0].step, max(rows[-1].step, rows[0].step + 1, *(row.step for row in held_out))

    def place(step: int, loss: float) -> str:
        x = _LEFT + (step - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - loss) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    thin = range(0, len(rows), max(1, len(rows) // _MAX_POINTS))
    raw = " ".join(place(rows[i].step, losses[i]) for i in thin)
    calm = " ".join(place(rows[i].step, smoothed[i]) for i in thin)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss of {curve.stage} by optimizer step">']
    parts += [_grid_line(tick, place(first, tick)) for tick in ticks]
    parts += [_step_label(step, place(step, low)) for step in _step_ticks(first, last)]
    parts.append(f'<polyline class="raw" points="{raw}"/><polyline class="calm" points="{calm}"/>')
    if held_out:
        measured = " ".join(place(row.step, row.loss) for row in held_out)
        parts.append(f'<polyline class="held" points="{measured}"/>')
    return "".join([*parts, "</svg>"])


def _grid_line(tick: float, where: str) -> str:
    y = where.partition(",")[2]
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    return f'{line}<text class="tick" x="{_LEFT - 8}" y="{y}" dy="0.32em" text-anchor="end">{tick:g}</text>'


def _step_label(step: int, where: str) -> str:
    x = where.partition(",")[0]
    return f'<text class="tick" x="{x}" y="{_HEIGHT - 14}" text-anchor="middle">{step:,}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose the range."""
    rough = max(high - low, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    start, stop = math.floor(low / size), math.ceil(high / size)
    return [round(i * size, 12) for i in range(start, max(stop, start + 1) + 1)]


def _step_ticks(first: int, last: int) -> list[int]:
    inner = [round(tick) for tick in _ticks(first, last) if first < tick < last]
    return sorted({first, *(step for step in inner if step - first > (last - first) / 12), last})[:-1]


def fingerprint(curve: Curve) -> str:
    """Name a trace by its numbers; `draw_png` writes it into the file."""
    return hashlib.sha256(repr(curve).encode()).hexdigest()


def draw_png(curve: Curve) -> bytes:
    """Draw the same with matplotlib, for a slide or a message."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (a second of import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    steps, losses = [row.step for row in curve.rows], [row.loss for row in curve.rows]
    figure = Figure(figsize=(7, 3.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9db4d8", linewidth=0.8)
    axes.plot(steps, smooth(losses), color="#2457a6", linewidth=1.8)
    if curve.validations:
        held = curve.validations
        axes.plot([row.step for row in held], [row.loss for row in held], color="#c2571a", marker="o", markersize=3)
    axes.set(title=f"{curve.stage}: loss", xlabel="optimizer step")
    axes.grid(visible=True, alpha=0.25)
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", metadata={"Software": None, "Source": fingerprint(curve)})
    return out.getvalue()
