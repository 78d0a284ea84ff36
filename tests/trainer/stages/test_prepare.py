"""Prepare, end to end: real rows, real images, a real tokenizer, real shards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_contract.result import StageResult
from llava_contract.run import (
    JobKind,
    JobRef,
    ModelParts,
    PreparedSetConfig,
    PrepareTask,
    RunConfig,
    Stage,
    StorageTarget,
)
from llava_contract.v1alpha1.data import DataSource, Layout, OnBadRow
from llava_contract.v1alpha1.evaluation import BenchmarkSource
from llava_trainer.data.shards import ImageSet, TokenSet
from llava_trainer.errors import BadData, InvalidSpec, LlavaError, MissingInput, StorageUnwritable, WrongTemplate
from llava_trainer.ranks import StopFlag
from llava_trainer.stages.prepare import run
from llava_trainer.storage import open_storage
from llava_trainer.tracking.progress import ProgressWriter, StageContext
from support.published import write_tree

TOKENIZERS = Path(__file__).parents[2] / "data" / "tokenizers"
PREPROCESSOR = {
    "size": {"shortest_edge": 16}, "crop_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3,
}  # fmt: skip
CONFIGS = {
    "llm": {"model_type": "llama"},
    "tower": {"model_type": "clip_vision_model", "image_size": 16, "num_hidden_layers": 2},
}
NO_TENSORS = (2).to_bytes(8, "little") + b"{}"  # a whole safetensors file: prepare reads no tensor
NUM_ROWS = 6


def row(image: str | None = "0.png", *, role: str = "human", question: str = "<image>\nWhat?") -> dict[str, Any]:
    turns = [{"from": role, "value": question}, {"from": "gpt", "value": "A cat."}]
    return {"conversations": turns} | ({"image": image} if image else {})


@dataclass
class Job:
    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=lambda: [row(f"{n}.png") for n in range(NUM_ROWS)])
    template: str = "vicuna"
    on_bad_row: OnBadRow = OnBadRow.FAIL
    max_bad_fraction: float = 0.5
    weight: float = 1.0
    max_length: int = 64
    global_batch: int = 1
    held_out: float = 0.0
    sample_images: list[str] = field(default_factory=list)
    storage: str = "job"
    benchmarks: list[BenchmarkSource] = field(default_factory=list)
    data: DataSource | None = None

    def write_inputs(self) -> None:
        shutil.copytree(TOKENIZERS / "sp_llama_fast", self.folder / "llm")
        for part, config in CONFIGS.items():
            (self.folder / part).mkdir(exist_ok=True)
            (self.folder / part / "config.json").write_text(json.dumps(config))
            (self.folder / part / "model.safetensors").write_bytes(NO_TENSORS)
        (self.folder / "tower" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        (self.folder / "images").mkdir()
        for number in range(NUM_ROWS):
            Image.new("RGB", (20, 30), (number * 40, 0, 0)).save(self.folder / "images" / f"{number}.png")

    def prepare(self) -> StageResult:
        (self.folder / "rows.json").write_text(json.dumps(self.rows))
        return run(self.config(), StageContext(0, 1, ProgressWriter(None, "prepare", 1), StopFlag()))

    def config(self) -> RunConfig:
        own = DataSource(annotations=f"{self.folder}/rows.json", images=f"{self.folder}/images", weight=self.weight)
        source = self.data or own
        parts = ModelParts(
            llm=f"{self.folder}/llm", vision_tower=f"{self.folder}/tower", prompt_template=self.template,
            projector_depth=2, vision_feature_layer=-2,
        )  # fmt: skip
        sets = [
            PreparedSetConfig(
                stage=stage,
                data=[source],
                max_length=self.max_length,
                pad_to_square=pad,
                global_batch=self.global_batch,
                held_out=self.held_out,
                sample_images=self.sample_images,
            )
            for stage, pad in ((Stage.PRETRAIN, False), (Stage.FINETUNE, True))
        ]
        task = PrepareTask(
            model=parts,
            sets=sets,
            on_bad_row=self.on_bad_row,
            max_bad_fraction=self.max_bad_fraction,
            benchmarks=self.benchmarks,
        )
        return RunConfig(
            job=JobRef(kind=JobKind.TRAIN, namespace="default", name="tiny", uid="1"),
            stage=Stage.PREPARE, attempt=1, num_ranks=1,
            storage=StorageTarget(uri=f"{self.folder}/{self.storage}"), hang_timeout_seconds=60, task=task,
        )  # fmt: skip

    def audit(self) -> dict[str, Any]:
        audit: dict[str, Any] = json.loads((self.folder / self.storage / "reports" / "audit.json").read_text())
        return audit

    def written(self) -> dict[str, int]:
        """Every shard with the moment of its last change."""
        data = self.folder / self.storage / "data"
        return {str(path): path.stat().st_mtime_ns for path in data.rglob("*.parquet")}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path)
    job.write_inputs()
    return job


@dataclass(frozen=True)
class Halves:
    """What a set file names."""

    images: str
    tokens: str
    num_samples: int


def set_file(result: StageResult, artifact: str) -> Halves:
    path = result.artifacts[artifact]
    return Halves(**json.loads(open_storage(path.partition("/data/sets/")[0]).read(path)))


def test_rows_become_sets_that_training_opens(job: Job) -> None:
    made = set_file(job.prepare(), "finetuneData")
    storage = open_storage(str(job.folder / "job"))
    tokens = TokenSet.open(storage.local_path(made.tokens))
    images = ImageSet.open(storage.local_path(made.images))
    pictures = images.read(tokens.read(range(NUM_ROWS))[2].images)
    assert (made.num_samples, pictures.shape, pictures[0, 8, 8, 0]) == (NUM_ROWS, (1, 16, 16, 3), 80)


def test_both_stages_and_the_audit_are_artifacts(job: Job) -> None:
    result = job.prepare()
    assert set(result.artifacts) == {"pretrainData", "finetuneData", "audit"}
    assert (result.exit_code, result.step, result.total_steps) == (0, 2 * NUM_ROWS, 2 * NUM_ROWS)
    assert result.message.startswith("pretrain: 6 of 6 rows kept. finetune: 6 of 6 rows kept.")


def test_equal_inputs_are_prepared_once(job: Job) -> None:
    first, before = job.prepare(), job.written()
    again = job.prepare()
    assert job.written() == before
    assert again.artifacts == first.artifacts
    assert again.message.count("all reused") == 2


def test_another_template_rewrites_no_image(job: Job) -> None:
    job.prepare()
    before = job.written()
    job.template = "llama2_chat"
    assert job.prepare().message.count("images reused") == 2
    assert {path for path in job.written() if "/images/" in path} == {path for path in before if "/images/" in path}
    assert before.items() <= job.written().items()


def test_a_changed_image_is_prepared_again(job: Job) -> None:
    first = set_file(job.prepare(), "pretrainData")
    os.utime(job.folder / "images" / "0.png", ns=(1, 1))
    assert set_file(job.prepare(), "pretrainData").images != first.images


@pytest.mark.parametrize(("weight", "samples"), [(2.0, 12), (0.5, 3), (1.0, 6)])
def test_weights_repeat_and_thin_rows(job: Job, weight: float, samples: int) -> None:
    job.weight = weight
    assert set_file(job.prepare(), "pretrainData").num_samples == samples


def _truncated(job: Job) -> dict[str, Any]:
    whole = (job.folder / "images" / "1.png").read_bytes()
    (job.folder / "images" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return row("cut.png")


def _no_image(job: Job) -> dict[str, Any]:
    (job.folder / "images" / "page.png").write_text("<html>404</html>")
    return row("page.png")


FAULTS = {
    "image-missing": lambda _: row("none.png"),
    "image-truncated": _truncated,
    "not-an-image": _no_image,
    "wrong-role": lambda _: row(role="Human"),
    "image-without-token": lambda _: row(question="What?"),
    "token-without-image": lambda _: row(None),
    "tokens-in-several-turns": lambda _: row() | {"conversations": row()["conversations"] * 2},
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_bad_row_fails_with_file_and_row(job: Job, reason: str) -> None:
    job.rows[3] = FAULTS[reason](job)
    with pytest.raises(BadData, match=r"rows\.json row 3: .*prepare\.onBadRow: quarantine"):
        job.prepare()
    assert [bad["reason"] for bad in job.audit()["finetune"]["bad"]] == [reason]


@pytest.mark.parametrize("reason", FAULTS)
def test_a_quarantined_row_is_left_out_and_listed(job: Job, reason: str) -> None:
    job.rows[3], job.on_bad_row = FAULTS[reason](job), OnBadRow.QUARANTINE
    made = set_file(job.prepare(), "finetuneData")
    assert made.num_samples == NUM_ROWS - 1
    assert job.audit()["finetune"]["bad"][0]["row"] == 3


def test_too_many_quarantined_rows_fail(job: Job) -> None:
    job.rows, job.on_bad_row, job.max_bad_fraction = [row("x.png"), row()], OnBadRow.QUARANTINE, 0.4
    with pytest.raises(BadData, match=r"1 of 2 rows are bad, more than prepare\.maxBadFraction 0\.4"):
        job.prepare()


def test_no_row_at_all_fails_and_is_audited(job: Job) -> None:
    job.rows, job.on_bad_row, job.max_bad_fraction = [row("x.png")], OnBadRow.QUARANTINE, 1.0
    with pytest.raises(BadData, match=r"spec\.pretrain\.data: none of 1 rows can be trained on"):
        job.prepare()
    assert job.audit()["pretrain"]["bad"][0]["reason"] == "image-missing"


def _without_answer(job: Job) -> None:
    job.rows = [{"conversations": [{"from": "human", "value": "What?"}]}] * 2


def _without_room(job: Job) -> None:
    job.max_length = 5


NOTHING_LEFT = [
    (lambda job: job.rows.clear(), "the annotation files hold no row"),
    (_without_answer, r"none of 2 rows has an answer to learn from \(no-answer\)"),
    (_without_room, "maxLength 5 is shorter than every prompt, so that all 6 rows lose their answers"),
]


@pytest.mark.parametrize(("change", "sentence"), NOTHING_LEFT)
def test_data_without_a_label_are_refused_and_audited(job: Job, change: Callable[[Job], None], sentence: str) -> None:
    change(job)
    with pytest.raises(BadData, match=rf"^spec\.pretrain\.data: {sentence}"):
        job.prepare()
    assert job.audit()["pretrain"]["kept"] == 0


@pytest.mark.parametrize(("weight", "is_enough"), [(1.0, False), (2.0, True)])
def test_a_batch_larger_than_the_data_is_refused(job: Job, weight: float, is_enough: bool) -> None:
    job.global_batch, job.weight = 2 * NUM_ROWS, weight
    if is_enough:
        job.prepare()
        return
    with pytest.raises(InvalidSpec, match=r"^spec\.pretrain\.batchSize: .* is 12, more than the 6 samples"):
        job.prepare()
    assert job.audit()["finetune"]["kept"] == NUM_ROWS


REMOVALS = [
    ("llm", r"spec\.model\.llm\.uri: .*/llm"),
    ("llm/config.json", r"spec\.model\.llm\.uri: .*config\.json"),
    ("llm/tokenizer.json", r"/llm.*tokenizer\.json"),
    ("llm/model.safetensors", r"spec\.model\.llm\.uri: .*safetensors"),
    ("tower/preprocessor_config.json", r"tower/preprocessor_config\.json"),
    ("tower", r"spec\.model\.visionTower\.uri: .*/tower"),
    ("images", r"spec\.pretrain\.data\[0\]\.images: .*/images"),
]


@pytest.mark.parametrize(("gone", "sentence"), REMOVALS)
def test_a_missing_input_is_named_with_its_field_before_any_work(job: Job, gone: str, sentence: str) -> None:
    path = job.folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingInput, match=sentence):
        job.prepare()
    assert not (job.folder / "job" / "data").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"template": "nonsense"}, InvalidSpec),
        ({"storage": "rows.json/job"}, StorageUnwritable),
    ],
)
def test_what_cannot_work_is_refused(job: Job, change: dict[str, str], error: type[LlavaError]) -> None:
    for name, value in change.items():
        setattr(job, name, value)
    with pytest.raises(error):
        job.prepare()


def test_a_template_whose_suffix_the_tokenizer_lacks_is_refused(job: Job) -> None:
    job.template = "llama3_chat"
    for file in (job.folder / "llm").glob("*.json"):
        file.write_text(file.read_text().replace("<|eot_id|>", "<|other|>"))
    with pytest.raises(WrongTemplate, match="promptTemplate llama3_chat"):
        job.prepare()


@pytest.fixture
def published(job: Job) -> Job:
    for stage in (Stage.PRETRAIN, Stage.FINETUNE):
        write_tree(job.folder / "tree", stage=stage)
    job.data = DataSource(layout=Layout.LLAVA, root=f"{job.folder}/tree/")
    return job


def test_a_published_tree_is_prepared_by_its_root(published: Job) -> None:
    assert published.prepare().message == "pretrain: 2 of 2 rows kept. finetune: 7 of 7 rows kept."


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("llava_images/gqa/images", r"tree holds no llava_images/gqa/images: fetch images\.zip of GQA"),
        ("llava_images", r"tree holds no llava_images/coco/train2017: fetch train2017\.zip of COCO"),
        ("LLaVA-Instruct-150K", r"tree holds no LLaVA-Instruct-150K/llava_v1_5_mix665k\.json: fetch LLaVA-Instruct"),
    ],
)
def test_a_missing_part_of_a_tree_is_named_with_field_and_archive(published: Job, gone: str, sentence: str) -> None:
    shutil.rmtree(published.folder / "tree" / gone)
    with pytest.raises(MissingInput, match=r"^spec\.finetune\.data\[0\]\.root: .*" + sentence):
        published.prepare()


def test_a_benchmark_that_is_not_there_is_named_before_training(job: Job) -> None:
    job.benchmarks = [BenchmarkSource(name="mmbench", uri=f"{job.folder}/none.tsv")]
    with pytest.raises(MissingInput, match=r"spec\.evaluate\.benchmarks\[0\]\.uri: .*none\.tsv"):
        job.prepare()


def test_a_half_made_set_is_never_taken_for_whole(job: Job) -> None:
    whole = job.prepare()
    for manifest in (job.folder / "job" / "data").rglob("manifest.json"):
        manifest.unlink()
    for part in (job.folder / "job" / "data").rglob("*.parquet"):
        part.write_bytes(b"half")
    again = job.prepare()
    assert again.artifacts == whole.artifacts
    assert "reused" not in again.message
    assert (
        len(TokenSet.open(open_storage(str(job.folder / "job")).local_path(set_file(again, "pretrainData").tokens)))
        == 6
    )


def test_neither_torch_nor_transformers_is_imported() -> None:
    script = """
import sys
from llava_trainer.stages import prepare
prepare.import_heavy(None)
print(sorted({"torch", "transformers", "pandas", "deepspeed"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_held_out_rows_are_a_set_of_their_own(job: Job) -> None:
    job.held_out = 0.4
    message = job.prepare().message
    halves = [json.loads(file.read_text()) for file in (job.folder / "job" / "data" / "sets").iterdir()]
    for told in halves:
        apart = [{sample.row for sample in TokenSet.open(told[part]).read(range(len(TokenSet.open(told[part]))))}
                 for part in ("tokens", "held_out")]  # fmt: skip
        assert apart[0].isdisjoint(apart[1])
        assert apart[0] | apart[1] == set(range(NUM_ROWS))
        assert f"{len(apart[1])} held out" in message


def test_a_share_that_holds_out_nothing_is_refused(job: Job) -> None:
    job.held_out = 1e-9
    with pytest.raises(InvalidSpec, match=r"spec\.pretrain\.validation\.fraction: 1e-09 of 6 samples holds out none"):
        job.prepare()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [(None, MissingInput, "there is nothing there"), (b"no picture", BadData, "name another image")],
)
def test_a_sample_image_that_cannot_be_shown_is_named(
    job: Job, content: bytes | None, error: type[LlavaError], words: str
) -> None:
    image = job.folder / "sample.png"
    if content:
        image.write_bytes(content)
    job.sample_images = [str(image)]
    with pytest.raises(error, match=rf"spec\.pretrain\.samples\.images\[0\].*{words}"):
        job.prepare()
