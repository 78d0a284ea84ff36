"""An exported model answers a benchmark, and what it said becomes scores and files."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from openpyxl import load_workbook
from PIL import Image

from llava_contract.result import StageResult
from llava_contract.run import EvaluateTask, Stage
from llava_contract.v1alpha1.evaluation import BenchmarkSource
from llava_trainer.data.question import question_ids
from llava_trainer.data.template import get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData, MissingInput, WrongTemplate
from llava_trainer.formats.huggingface.metadata import read_metadata
from llava_trainer.scoring.benchmark import read_benchmark
from llava_trainer.scoring.prompts import build_prompt
from llava_trainer.stages import evaluate
from support.benchmarks import row, write_tsv
from support.tiny_model import IMAGE_SIZE, lora, train_task
from support.trained import TrainedJob, context, run_config, trained_job


def picture(colour: str, size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def questions(*, with_answers: bool = True) -> list[dict[str, str]]:
    """Two pictures, three questions, one of them rotated."""
    shared = {"question": "What colour is this ?", "A": "red", "B": "blue"}
    rows = [
        row(1, image=picture("red"), **shared, answer="A"),
        row(2, image=picture("blue", (20, 30)), **shared, answer="B"),
        row(3, image="1", question="circle or square ?", A="circle", B="square", answer="B"),
        row(1_000_001, image="1", **shared | {"A": "blue", "B": "red"}, answer="B"),
    ]
    return rows if with_answers else [{**each, "answer": ""} for each in rows]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainedJob:
    made = trained_job(tmp_path_factory.mktemp("evaluated"), train_task(lora()))
    made.convert()
    return made


def run(job: TrainedJob, folder: Path, rows: list[dict[str, str]] | None = None, **changes: Any) -> StageResult:
    source = BenchmarkSource(name="shapes", uri=str(write_tsv(folder / "SHAPES_EN.tsv", *(rows or questions()))))
    settings: dict[str, Any] = {
        "model_uri": str(job.export), "prompt_template": None, "batch_size": 3, "max_new_tokens": 6,
        "minimum_accuracy": None,
    }  # fmt: skip
    task = EvaluateTask(benchmarks=[source], **settings | changes)
    return evaluate.run(run_config(folder / "job", Stage.EVALUATE, task), context("evaluate"))


def answers(folder: Path) -> list[str]:
    file = next((folder / "job" / "evaluations" / "shapes").glob("*/answers.jsonl"))
    return [json.loads(line)["prediction"] for line in file.read_text().splitlines()]


def test_both_rules_give_circular_and_vanilla_fractions(job: TrainedJob, tmp_path: Path) -> None:
    result = run(job, tmp_path)
    assert set(result.results) == {
        f"shapes/{rule}/{measure}" for rule in ("xtuner", "vlmevalkit") for measure in ("circular", "vanilla")
    }
    assert all(0 <= value <= 1 for value in result.results.values())
    assert (result.exit_code, result.reason) == (0, "Succeeded")


def test_everything_that_servers_and_people_want_is_written(job: TrainedJob, tmp_path: Path) -> None:
    run(job, tmp_path)
    folder = next((tmp_path / "job" / "evaluations" / "shapes").iterdir())
    names = {path.name for path in folder.iterdir()}
    assert names >= {"args.json", "answers.jsonl", "mmbench_result.xlsx", "mmbench_result.json", "scores.json"}
    assert json.loads((folder / "args.json").read_text())["prompt_template"] == "vicuna"


def test_scores_name_the_benchmark_as_its_user_did(job: TrainedJob, tmp_path: Path) -> None:
    result = run(job, tmp_path)
    scores = json.loads(Path(result.artifacts["scores"].removeprefix("file://")).read_text())
    assert [score["benchmark"] for score in scores] == ["shapes"]


def test_samples_show_pictures_beside_answers(job: TrainedJob, tmp_path: Path) -> None:
    run(job, tmp_path)
    samples = json.loads((tmp_path / "job" / "evaluations" / "samples.json").read_text())
    assert [sample["index"] for sample in samples] == [1, 2, 3]
    assert [sample["prediction"] for sample in samples] == answers(tmp_path)[:3]
    assert Image.open(io.BytesIO(base64.b64decode(samples[2]["image"]))).getpixel((0, 0)) == (255, 0, 0)


def test_the_report_shows_what_the_model_said(job: TrainedJob, tmp_path: Path) -> None:
    result = run(job, tmp_path)
    page = Path(result.artifacts["report"].removeprefix("file://")).read_text()
    assert picture("red") in page
    assert all(answer in page for answer in answers(tmp_path)[:3])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_do_not_change_answers(batch_size: int, job: TrainedJob, tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    run(job, tmp_path / "usual")
    run(job, tmp_path, batch_size=batch_size)
    assert answers(tmp_path) == answers(tmp_path / "usual")


def test_answers_are_those_of_transformers(job: TrainedJob, tmp_path: Path) -> None:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    run(job, tmp_path)
    benchmark = read_benchmark(tmp_path / "SHAPES_EN.tsv")
    processor = AutoProcessor.from_pretrained(job.export, backend="pil")
    model = LlavaForConditionalGeneration.from_pretrained(job.export, dtype=torch.float32)
    for question, ours in zip(benchmark.questions, answers(tmp_path), strict=True):
        if question.index == 2:
            continue  # not square: the processor crops what training pads
        turn = {"role": "user", "content": build_prompt(question)}
        text = processor.apply_chat_template([turn], add_generation_prompt=True)
        image = Image.open(io.BytesIO(benchmark.image_bytes(question)))
        inputs = processor(text=text, images=image, return_tensors="pt", add_special_tokens=False)
        new = model.generate(**inputs, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
        assert processor.decode(new, skip_special_tokens=True).strip() == ours


def test_a_split_without_answers_is_answered_for_the_server(job: TrainedJob, tmp_path: Path) -> None:
    result = run(job, tmp_path, questions(with_answers=False))
    book = next((tmp_path / "job" / "evaluations").rglob("mmbench_result.xlsx"))
    assert result.results == {}
    assert load_workbook(book)["Sheet1"].max_row == 5


def test_a_prompt_opens_as_a_first_turn_of_training_did(job: TrainedJob, tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "one.tsv", row(1, image=picture("red"), question="What ?")))
    tokenizer = Tokenizer(job.export)
    template = get_template(read_metadata(job.export).prompt_template)
    ids = question_ids(build_prompt(benchmark.questions[0]), template, tokenizer)
    assert ids[0] == tokenizer.bos_id
    assert ids.count(-200) == 1


def test_a_template_that_the_tokenizer_cannot_speak_is_refused(job: TrainedJob, tmp_path: Path) -> None:
    with pytest.raises(WrongTemplate, match="internlm2_chat"):
        run(job, tmp_path, prompt_template="internlm2_chat")


def test_a_folder_that_is_no_export_is_refused(job: TrainedJob, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"llava\.json"):
        run(job, tmp_path, model_uri=str(job.folder / "llama"))


def test_a_broken_picture_is_named_by_its_line(job: TrainedJob, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="line 2: column image"):
        run(job, tmp_path, [row(1, image=base64.b64encode(b"no picture at all").decode())])
