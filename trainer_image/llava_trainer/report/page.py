"""How a report becomes one HTML file that needs nothing from outside: no script, no font, no picture by link."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Final

from llava_trainer.report.chart import draw_png, draw_svg, fingerprint
from llava_trainer.report.facts import Report
from llava_trainer.report.settings import duration
from llava_trainer.storage import Storage

if TYPE_CHECKING:
    from llava_trainer.data.audit import Audit

__all__ = ["PAGE_PATH", "render", "write_plots", "write_report"]

PAGE_PATH: Final = "reports/report.html"
_MAX_ROWS: Final = 200
"""Bad rows on the page; all of them are in reports/audit.json."""
_KINDS: Final = {"iVBOR": "png", "R0lG": "gif", "UklG": "webp", "Qk": "bmp"}


def write_report(storage: Storage, report: Report) -> str:
    """Write the page and its plots into the job's storage and give the page's URI; errors as Storage.write."""
    storage.write(PAGE_PATH, render(report).encode())
    write_plots(storage, report)
    return storage.uri_of(PAGE_PATH)


def write_plots(storage: Storage, report: Report) -> None:
    """Write reports/<stage>-loss.png for every training stage that has a trace, where matplotlib is there to draw.

    A plot of the same trace is left as it is: drawing costs a second. Errors as Storage.write.
    """
    for curve in report.curves:
        path = f"reports/{curve.stage}-loss.png"
        if storage.exists(path) and fingerprint(curve).encode() in storage.read(path):
            continue
        try:
            drawing = draw_png(curve)
        except ImportError:
            return
        storage.write(path, drawing)


def render(report: Report) -> str:
    """Fill the page; equal reports give equal bytes."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  (only a trainer has it)
    from markupsafe import Markup  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": _told, "reasons": _reasons, "data_uri": _data_uri}
    page = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    charts = {curve.stage: Markup(draw_svg(curve)) for curve in report.curves}  # noqa: S704  (our own numbers)
    return page.render(report=report, charts=charts, max_rows=_MAX_ROWS)


def _told(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _reasons(audit: Audit) -> list[tuple[str, int, str]]:
    """(what, how many, what became of them), most frequent first within each kind."""
    bad = Counter(row.reason.value for row in audit.bad_rows).most_common()
    dropped = Counter(row.reason.value for row in audit.dropped).most_common()
    odd = [(name.value, count) for name, count in audit.oddities]
    kinds = (("left out", bad), ("left out, nothing to learn", dropped), ("kept", odd))
    return [(name, count, fate) for fate, counts in kinds for name, count in counts]


def _data_uri(image: str) -> str:
    kind = next((kind for start, kind in _KINDS.items() if image.startswith(start)), "jpeg")
    return f"data:image/{kind};base64,{image}"
