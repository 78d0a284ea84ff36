"""A stage's last words: at most 4,096 bytes, always whole characters and valid JSON."""

from __future__ import annotations

from typing import Any

import pytest

from llava_contract.result import MAX_RESULT_BYTES, CheckpointRef, StageResult

URIS = {f"artifact{index}": "s3://bucket/" + "x" * 180 for index in range(30)}
SCORES = {f"benchmark{index}/vlmevalkit/circular": 0.123456 for index in range(100)}


def result(**changes: Any) -> StageResult:
    return StageResult(**{"stage": "prepare", "attempt": 1, "exit_code": 12, "reason": "BadData", **changes})


ROWS = {
    "short": {"message": "row 7: image is missing"},
    "ascii": {"message": "row 7: image is missing; " * 1000},
    "two bytes": {"message": "é" * 5000},
    "three bytes": {"message": "图片缺失" * 2000},
    "four bytes": {"message": "🦙" * 3000},
    "mixed": {"message": "a🦙é图" * 2000},
    "quotes and newlines": {"message": '"\n\\' * 3000},
    "control characters": {"message": "\x00\x1b" * 2000},
    "undecodable file name": {"message": "image \udcff.jpg is missing"},
    "long, with artifacts": {"message": "x" * 9000, "artifacts": {"audit": "s3://bucket/reports/audit.json"}},
    "too many scores": {"message": "done", "results": SCORES},
    "too many artifacts": {"message": "done", "artifacts": URIS},
    "too much of everything": {"message": "é" * 9000, "artifacts": URIS, "results": SCORES, "seconds": SCORES},
}


@pytest.mark.parametrize("row", ROWS)
def test_a_message_fits_and_reads_back(row: str) -> None:
    message = result(**ROWS[row]).to_message()
    assert len(message) <= MAX_RESULT_BYTES
    assert StageResult.model_validate_json(message.decode("utf-8")).exit_code == 12


@pytest.mark.parametrize("length", range(3700, 4100, 13))
def test_every_length_around_the_limit_fits(length: int) -> None:
    message = result(message="é" * (length // 2)).to_message()
    assert len(message) <= MAX_RESULT_BYTES
    assert "\ufffd" not in message.decode("utf-8")


def test_what_fits_is_left_alone() -> None:
    whole = result(message="é" * 1000, results={"a/b/circular": 0.5})
    assert StageResult.model_validate_json(whole.to_message()) == whole


def test_a_cut_sentence_says_where_the_rest_is_and_uses_the_room() -> None:
    message = result(message="x" * 9000).to_message("s3://bucket/result.json")
    assert b"... (cut; the whole result is in s3://bucket/result.json)" in message
    assert len(message) == MAX_RESULT_BYTES


def test_a_long_sentence_does_not_cost_the_artifacts() -> None:
    cut = StageResult.model_validate_json(result(message="x" * 9000, artifacts={"audit": "s3://b/a"}).to_message())
    assert cut.artifacts == {"audit": "s3://b/a"}


def test_too_many_scores_cost_no_artifact() -> None:
    cut = StageResult.model_validate_json(
        result(message="ok", results={**SCORES}, artifacts={"scores": "s3://b/s"}).to_message()
    )
    assert (cut.results, cut.artifacts) == ({}, {"scores": "s3://b/s"})


def test_the_checkpoint_is_never_dropped() -> None:
    checkpoint = CheckpointRef(uri="s3://bucket/" + "c" * 900, step=5, manifest_sha256="0" * 64)
    cut = StageResult.model_validate_json(
        result(message="x" * 9000, artifacts=URIS, checkpoint=checkpoint).to_message()
    )
    assert cut.checkpoint == checkpoint


def test_nothing_left_to_drop_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="does not fit into 4096 bytes"):
        result(reason="x" * 5000).to_message()
