"""Evaluate: an exported model answers benchmark files greedily, and its answers are scored under both rules.

All that is needed is the exported folder: llava.json in it says how prompts and images are prepared.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from llava_contract.causes import SUCCEEDED
from llava_contract.result import Artifact, StageResult
from llava_contract.run import EvaluateTask, RunConfig, StorageTarget
from llava_contract.v1alpha1.evaluation import BenchmarkSource
from llava_trainer.data.images import BadImage, ImageSettings, image_warnings, pixels, prepare
from llava_trainer.data.question import question_ids, stop_ids
from llava_trainer.data.template import PromptTemplate, get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData
from llava_trainer.formats.huggingface.metadata import read_metadata
from llava_trainer.ranks import uses_cuda
from llava_trainer.report.collect import collect
from llava_trainer.report.page import write_report
from llava_trainer.report.samples import SampleAnswer, choose_samples, write_samples
from llava_trainer.scoring.answers import Answer
from llava_trainer.scoring.benchmark import Benchmark, Question, read_benchmark
from llava_trainer.scoring.prompts import build_prompt
from llava_trainer.scoring.results import RunArguments, write_results
from llava_trainer.scoring.scorereport import ScoreReport, score_answers
from llava_trainer.storage import Storage, materialise, open_storage
from llava_trainer.tracking.progress import StageContext

if TYPE_CHECKING:
    import torch

    from llava_trainer.model.llava import Llava

__all__ = ["import_heavy", "run"]

_PLACE: Final = "evaluations"


@dataclass(frozen=True)
class Speaker:
    """An exported model and how it is spoken to."""

    folder: Path
    model: Llava
    tokenizer: Tokenizer
    template: PromptTemplate
    images: ImageSettings
    dtype: str


def import_heavy(config: RunConfig) -> None:  # noqa: ARG001  (the signature of every stage)
    """Import torch and the modules of transformers that a model is made of."""
    from llava_trainer.model.imports import import_libraries  # noqa: PLC0415

    import_libraries(adapters=False, quantised=False)


def run(config: RunConfig, context: StageContext) -> StageResult:
    """Answer every benchmark, score those that have answers, and leave the files that people and servers want.

    Benchmarks are read before the model is loaded. Whether a score is good enough is for the operator to say.
    Raises MissingInput, BadData, WrongTemplate, Unsupported or WeightsMismatch.
    """
    task = config.task
    assert isinstance(task, EvaluateTask)
    storage = open_storage(config.storage)
    benchmarks = [(source, _read(source, config.storage)) for source in task.benchmarks]
    speaker = _load(task, config.storage)
    reports: dict[str, ScoreReport] = {}
    samples: list[SampleAnswer] = []
    num_done, num_all = 0, sum(len(benchmark.questions) for _, benchmark in benchmarks)
    for source, benchmark in benchmarks:
        answers = []
        for answer in _answers(speaker, benchmark, task):
            answers.append(answer)
            context.progress.report(num_done + len(answers), num_all, unit="question")
        num_done += len(answers)
        arguments = _arguments(speaker, source, task=task, work_dir=storage.place(f"{_PLACE}/{source.name}"))
        with storage.new_folder(f"{_PLACE}/{source.name}", keep_old=True) as work_dir:
            write_results(work_dir, benchmark, answers=answers, arguments=arguments, now=datetime.now())
        samples += choose_samples(benchmark, answers)
        if benchmark.has_answers:
            reports[source.name] = score_answers(benchmark, answers)
    write_samples(storage, samples)
    return _result(config, storage, reports)


def _read(source: BenchmarkSource, server: StorageTarget) -> Benchmark:
    """Read a benchmark under the name that its user gave it."""
    benchmark = replace(read_benchmark(materialise(source.uri, server)), name=source.name)
    benchmark.check_images()
    return benchmark


def _load(task: EvaluateTask, server: StorageTarget | None = None) -> Speaker:
    """Load the model: in bf16 on a GPU, in fp32 on a CPU, where it answers alike in batches of any size."""
    import torch  # noqa: PLC0415

    from llava_trainer.model.export import load_export  # noqa: PLC0415

    folder = materialise(task.model_uri, task.model_storage or server)
    metadata = read_metadata(folder)
    tokenizer = Tokenizer(folder)
    template = get_template(task.prompt_template or metadata.prompt_template)
    template.check(tokenizer)
    images = ImageSettings.from_folder(folder, pad_to_square=metadata.pad_to_square)
    dtype, device = (torch.bfloat16, "cuda") if uses_cuda() else (torch.float32, "cpu")
    model = load_export(folder, dtype=dtype, device=torch.device(device))
    return Speaker(folder, model, tokenizer, template, images, str(dtype).removeprefix("torch."))


def _answers(speaker: Speaker, benchmark: Benchmark, task: EvaluateTask) -> Iterator[Answer]:
    """Answer every question once, those about one picture behind one another."""
    from llava_trainer.model.generate import Prompt, Stopping, answer  # noqa: PLC0415

    questions = {str(question.image_index): question for question in benchmark.questions}

    def read_images(names: Sequence[str]) -> torch.Tensor:
        return _pixels([_picture(benchmark, questions[name], speaker.images) for name in names], speaker.images)

    template, tokenizer = speaker.template, speaker.tokenizer
    prompts = [
        Prompt(question_ids(build_prompt(question), template, tokenizer), (str(question.image_index),))
        for question in benchmark.questions
    ]
    stopping = Stopping(stop_ids(template, tokenizer), task.max_new_tokens)
    for number, token_ids in answer(
        speaker.model, prompts, read_images=read_images, stopping=stopping, batch_size=task.batch_size
    ):
        text = speaker.tokenizer.decode(token_ids, skip_special_tokens=True)
        yield Answer(benchmark.questions[number].index, text.strip())


def _picture(benchmark: Benchmark, question: Question, settings: ImageSettings) -> Image.Image:
    """Decode a question's picture and prepare it as training did; BadData names the line that cannot be."""
    try:
        with image_warnings():
            return prepare(Image.open(io.BytesIO(benchmark.image_bytes(question))), settings)
    except (BadImage, OSError, SyntaxError, ValueError, Warning) as error:
        place = f"{benchmark.path} line {question.line}"
        raise BadData(f"{place}: column image holds no picture that can be used ({error}); mend the file.") from error


def _pixels(pictures: Sequence[Image.Image], settings: ImageSettings) -> torch.Tensor:
    """Normalise prepared pictures: [I, C, H, W]."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    return torch.from_numpy(pixels(np.stack([np.asarray(picture) for picture in pictures]), settings))


def _arguments(speaker: Speaker, source: BenchmarkSource, *, task: EvaluateTask, work_dir: str) -> RunArguments:
    return RunArguments(
        model_name_or_path=task.model_uri,
        data_path=source.uri,
        work_dir=work_dir,
        prompt_template=speaker.template.name,
        stop_words=speaker.template.must_be_pieces,
        torch_dtype=speaker.dtype,
        max_new_tokens=task.max_new_tokens,
    )


def _result(config: RunConfig, storage: Storage, reports: dict[str, ScoreReport]) -> StageResult:
    scores: list[Any] = [json.loads(report.to_json()) for report in reports.values()]
    results = {
        f"{name}/{score.rule.name}/{measure}": fraction
        for name, report in reports.items()
        for score in report.scores
        for measure, fraction in (("circular", score.circular.fraction), ("vanilla", score.vanilla.fraction))
    }
    storage.write(f"{_PLACE}/scores.json", json.dumps(scores, indent=2, ensure_ascii=False).encode())
    return StageResult(
        stage=config.stage.value,
        attempt=config.attempt,
        exit_code=SUCCEEDED.exit_code,
        reason=SUCCEEDED.reason,
        results=results,
        artifacts={
            Artifact.SCORES.value: storage.uri_of(f"{_PLACE}/scores.json"),
            Artifact.REPORT.value: write_report(storage, collect(storage)),
        },
    )
