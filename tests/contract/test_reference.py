"""The generated reference pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_contract.causes import CAUSES
from llava_contract.conditions import REASONS, TYPES
from llava_contract.published import PUBLISHED
from llava_contract.recipes import names
from llava_contract.reference import pages, write

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", pages())
def test_the_page_in_the_tree_is_the_generated_one(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == pages()[name]


def test_pages_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "reference")
    assert sorted(path.name for path in (tmp_path / "docs" / "reference").iterdir()) == sorted(pages())


def test_every_failure_is_in_the_catalogue() -> None:
    assert all(f"`{cause.reason}`" in pages()["failures.md"] for cause in CAUSES)


def test_every_condition_and_reason_is_in_the_table() -> None:
    assert all(f"| `{word}` |" in pages()["conditions.md"] for word in (*TYPES, *REASONS))


def test_every_recipe_is_in_the_table() -> None:
    assert all(f"`{name}`" in pages()["recipes.md"] for name in names())
    assert len(PUBLISHED) == 33


@pytest.mark.parametrize("field", ["spec.finetune.llm.lora.rank", "spec.pretrain.data[].annotations", "status.score"])
def test_every_field_has_a_row(field: str) -> None:
    assert f"| `{field}` |" in pages()["llavatrainjob.md"]
