"""The page: whatever exists is on it, nothing comes from outside, equal facts give equal bytes."""

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llava_trainer.report.chart import draw_png, draw_svg, smooth
from llava_trainer.report.collect import collect
from llava_trainer.report.facts import Curve, Report
from llava_trainer.report.page import PAGE_PATH, render, write_report
from llava_trainer.report.settings import duration
from llava_trainer.storage import open_storage
from llava_trainer.tracking.history import History, HistoryRow
from support import reports


@pytest.fixture
def page(tmp_path: Path) -> str:
    return render(collect(reports.whole_run(tmp_path)))


def test_nothing_comes_from_outside(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert "<link" not in page


@pytest.mark.parametrize(
    "said",
    [
        "tiny-llava", "Succeeded", "87.5 %", "90.0 %", "xtuner 0.2.0", "vlmevalkit e8e78f05",
        "120 questions in 480 rows",
        "vicuna", "adapted by LoRA, rank 16", "file:///job/models/huggingface", "3 min 55 s", "31.0 s", "4.2 s",
        "637 of 640 rows", "image-missing", "captions.json row 41", "palette-image", "data:image/png;base64,",
        "finetune.data[0].annotations", "<svg", 'class="calm"', ">right<", ">wrong<", "(nothing)", "AR", "colour",
        "(expected)", ">xtuner: wrong<", ">vlmevalkit: right<",
    ],
)  # fmt: skip
def test_the_page_says(page: str, said: str) -> None:
    assert said in page


def test_what_users_wrote_is_escaped(page: str) -> None:
    assert "Which shape is &lt;b&gt;this&lt;/b&gt;?" in page
    assert "<b>this</b>" not in page
    assert "<b>41</b>" not in page


def test_every_tag_is_closed(page: str) -> None:
    class Balance(HTMLParser):
        open_tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
            if tag not in {"meta", "img", "link", "br"}:
                self.open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def test_equal_facts_give_equal_bytes(tmp_path: Path, page: str) -> None:
    assert render(collect(reports.whole_run(tmp_path / "again"))) == page


def test_the_page_is_written_where_the_uri_says(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    assert write_report(storage, collect(storage)) == storage.uri_of(PAGE_PATH)
    assert storage.exists(PAGE_PATH)


def test_a_failed_job_says_why(tmp_path: Path) -> None:
    page = render(collect(reports.whole_run(tmp_path, phase="Failed")))
    assert "the loss is not a number &lt;script&gt;" in page


@pytest.mark.parametrize(
    "kept", ["job.json", "reports/audit.json", "evaluations/scores.json", "logs/pretrain-history.jsonl", ""]
)
def test_whatever_exists_makes_a_page(tmp_path: Path, kept: str) -> None:
    storage = reports.whole_run(tmp_path)
    for item in storage.list():
        if item.path != kept:
            storage.delete(item.path)
    assert render(collect(storage)).startswith("<!doctype html>")


def test_the_command_writes_page_and_plots_and_prints_the_path(tmp_path: Path) -> None:
    reports.whole_run(tmp_path)
    command = [sys.executable, "-m", "llava_trainer.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / PAGE_PATH
    assert (tmp_path / "reports" / "finetune-loss.png").read_bytes().startswith(b"\x89PNG")


def test_plots_are_written_beside_the_page(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    write_report(storage, collect(storage))
    assert storage.read("reports/pretrain-loss.png").startswith(b"\x89PNG")


@pytest.mark.parametrize(("num_steps", "is_drawn"), [(120, False), (121, True)])
def test_a_plot_is_drawn_anew_only_for_another_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_steps: int, *, is_drawn: bool
) -> None:
    storage = reports.whole_run(tmp_path)
    write_report(storage, collect(storage))
    reports.write_history(storage, "pretrain", num_steps)
    drawn: list[Curve] = []
    monkeypatch.setattr("llava_trainer.report.page.draw_png", lambda curve: drawn.append(curve) or b"")
    write_report(storage, collect(storage))
    assert bool(drawn) is is_drawn


def test_without_matplotlib_there_is_still_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    storage = reports.whole_run(tmp_path)
    write_report(storage, collect(storage))
    assert [item.path for item in storage.list("reports")] == ["reports/audit.json", PAGE_PATH]


def test_the_command_names_a_folder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llava_trainer.report", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (13, 1)


def test_a_page_costs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    reports.whole_run(tmp_path)
    script = f"""
import sys
from llava_trainer.report.collect import collect
from llava_trainer.report.page import render
from llava_trainer.storage import open_storage
render(collect(open_storage({str(tmp_path)!r})))
print(sorted({{"torch", "transformers", "pandas", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_tells_the_loss_of_each_source(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    history = History(storage, "finetune")
    for step in range(1, 21):
        by_source = {"coco.json": 4.0 / step} | ({"text.json": 0.125} if step % 2 else {})
        history.add(HistoryRow(step, 1.0, 1e-3, 1.0, 900, 0.25, by_source))
    history.flush()
    (found,) = (curve for curve in collect(storage).curves if curve.stage == "finetune")
    assert [(source.name, source.num_steps) for source in found.sources] == [("coco.json", 20), ("text.json", 10)]
    assert (found.sources[0].first, found.sources[1].last) == (3.0, 0.125)
    assert "<td>coco.json</td>" in render(collect(storage))


def curve(*losses: float) -> Curve:
    return Curve("pretrain", tuple(HistoryRow(n, loss, 1e-3, 1.0, 10, 0.1) for n, loss in enumerate(losses, start=1)))


@pytest.mark.parametrize("losses", [(1.0,), (0.0, 0.0), (2.0, 1.0), (2.0, float("nan"), 1.0), (1e-6, 1e6), (-1.0, 1.0)])
def test_any_trace_can_be_drawn(losses: tuple[float, ...]) -> None:
    drawing = draw_svg(curve(*losses))
    assert drawing.endswith("</svg>")
    assert "nan" not in drawing


def test_a_trace_of_nans_is_no_drawing() -> None:
    assert draw_svg(curve(float("nan"))) == ""


def test_a_long_trace_stays_small() -> None:
    assert len(draw_svg(curve(*(1 / n for n in range(1, 20_000))))) < 60_000


def test_the_plot_is_equal_for_equal_numbers() -> None:
    assert draw_png(curve(3.0, 2.0, 1.0)) == draw_png(curve(3.0, 2.0, 1.0))


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant() -> None:
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([7.0, 1.0])[0] == 7.0


@pytest.mark.parametrize(("seconds", "said"), [(3.44, "3.4 s"), (125, "2 min 05 s"), (15000, "4 h 10 min")])
def test_durations_read_well(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_report_of_nothing_has_only_its_name() -> None:
    assert "<h2>" not in render(replace(Report("nothing", ""), facts=()))


def test_audits_on_the_page_are_those_of_prepare(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    storage.write("reports/audit.json", json.dumps({"pretrain": json.loads(reports.AUDIT.to_json())}).encode())
    assert collect(storage).audits[0].audit == reports.AUDIT
