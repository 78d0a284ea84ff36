"""A job's storage as a whole run leaves it, small enough to read."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from llava_trainer.data.audit import Audit
from llava_trainer.data.conversation import Oddity
from llava_trainer.data.record import BadRow, Reason
from llava_trainer.data.sample import Dropped, DropReason
from llava_trainer.storage import Storage, open_storage
from llava_trainer.tracking.history import History, HistoryRow

SECONDS = {"import": 4.2, "work": 31.0}
AUDIT = Audit(
    num_rows=640,
    num_kept=637,
    bad_rows=(BadRow("captions.json", 41, "x", Reason.IMAGE_MISSING, "image <b>41</b>.png is missing"),),
    dropped=(Dropped("captions.json", 50, None, DropReason.NO_ANSWER),) * 2,
    oddities=((Oddity.PALETTE_IMAGE, 3),),
)


def job(*, phase: str = "Succeeded") -> dict[str, Any]:
    stages = [
        {"name": name, "state": "Succeeded", "attempt": 1 + (name == "finetune"), "restarts": int(name == "finetune"),
         "seconds": SECONDS, "message": ""}
        for name in ("prepare", "pretrain", "finetune", "convert", "evaluate")
    ]  # fmt: skip
    if phase == "Failed":
        stages[2] |= {"state": "Failed", "message": "finetune failed: the loss is not a number <script>", "seconds": {}}
    spec = {
        "recipe": None,
        "model": {"llm": {"uri": "file:///towers/llm"}, "visionTower": {"uri": "file:///towers/clip"},
                  "promptTemplate": "vicuna"},
        "finetune": {"llm": {"mode": "lora", "lora": {"rank": 16}}, "data": [{"annotations": "file:///rows.json"}]},
    }  # fmt: skip
    times = {"startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:08:00Z"}
    artifacts = {"huggingface": "file:///job/models/huggingface"}
    return {
        "name": "tiny-llava",
        "spec": spec,
        "status": {"phase": phase, "stages": stages, "artifacts": artifacts, "restarts": 1, **times},
    }


def scores() -> list[dict[str, Any]]:
    rule = {"circular": 0.875, "vanilla": 0.95, "l2_category": {"AR": 0.9, "CP": 0.85}, "category": {"colour": 1.0}}
    rules = {"xtuner": {"version": "0.2.0", **rule}, "vlmevalkit": {"version": "e8e78f05", **rule, "circular": 0.9}}
    return [{"benchmark": "tiny", "rows": 480, "questions": 120, "na_options": {"count": 2}, "rules": rules}]


def samples() -> list[dict[str, Any]]:
    return [
        {"benchmark": "tiny", "index": n, "question": "Which shape is <b>this</b>?", "answer": "B",
         "options": {"A": "square", "B": "circle"}, "prediction": said, "image": picture(n)}
        for n, said in enumerate(["B", "Circle.", "A", "", "B", "B"])
    ]  # fmt: skip


def picture(number: int) -> str:
    image = Image.new("RGB", (64, 64), (240, 240, 240))
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill=(40 * number, 90, 200))
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def write_history(storage: Storage, stage: str, num_steps: int = 120) -> None:
    rows = [
        HistoryRow(step, 0.3 + 5 / (1 + step / 8) + 0.2 * ((step * 7919) % 13 - 6) / 13, 1e-3, 1.0, 900, 0.25)
        for step in range(1, num_steps + 1)
    ]
    History(storage, stage, rows).flush()


def whole_run(folder: Path, *, phase: str = "Succeeded") -> Storage:
    """Write everything that `collect` looks for."""
    storage = open_storage(str(folder))
    audits = {stage: json.loads(AUDIT.to_json()) for stage in ("pretrain", "finetune")}
    for path, content in {
        "job.json": job(phase=phase),
        "reports/audit.json": audits,
        "evaluations/scores.json": scores(),
        "evaluations/samples.json": samples(),
    }.items():
        storage.write(path, json.dumps(content).encode())
    for stage in ("pretrain", "finetune"):
        write_history(storage, stage)
    return storage
