"""The jobs that the pages show are jobs: whole ones as they stand, parts of one laid over a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_contract.recipes import effective
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec
from llava_contract.validate import effective_spec, load_job
from support.pages import DOCS, blocks

PAGES = ["../README.md", *sorted(path.name for path in DOCS.glob("*.md"))]
PARTED = ["data.md", "tracking.md", "training.md"]
"""Pages whose shorter blocks are parts of a LlavaTrainJob's spec."""


def is_whole(block: str) -> bool:
    return block.startswith("apiVersion: llava.dev/")


def cases(pages: list[str], *, whole: bool) -> list[Any]:
    return [
        pytest.param(block, id=f"{page} {number}")
        for page in pages
        for number, block in enumerate(blocks(page, "yaml"), start=1)
        if is_whole(block) is whole
    ]


def laid_over(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {**under, **{key: laid_over(under.get(key), value) for key, value in over.items()}}


@pytest.mark.parametrize("block", cases(PAGES, whole=True))
def test_a_job_of_a_page_is_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(block, encoding="utf-8")
    effective_spec(load_job(tmp_path / "job.yaml").spec)


@pytest.mark.parametrize("block", cases(PARTED, whole=False))
def test_a_part_of_a_job_fits_into_one(block: str) -> None:
    whole = yaml.safe_load(next(filter(is_whole, blocks("training.md", "yaml"))))["spec"]
    part = yaml.safe_load(block)
    effective(LlavaTrainJobSpec.model_validate(laid_over(whole, part.get("spec", part))))
