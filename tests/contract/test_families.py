"""The list of families is whole, and the page tells all of it."""

from __future__ import annotations

import pytest

from llava_contract.families import LLMS, TOWERS, page, tower_family


@pytest.mark.parametrize("name", LLMS)
def test_what_a_family_runs_as_is_a_family(name: str) -> None:
    assert LLMS[LLMS[name].runs_as].runs_as == LLMS[name].runs_as


@pytest.mark.parametrize("family", TOWERS, ids=[family.models for family in TOWERS])
def test_a_tower_is_found_alone_and_in_its_model(family) -> None:
    assert tower_family(family.whole_type) == tower_family(family.vision_type) == family


def test_an_unknown_tower_is_none() -> None:
    assert tower_family("dinov2") is None


def test_the_page_names_every_family() -> None:
    text = page()
    assert all(f"`{name}`" in text for name in [*LLMS, *(family.vision_type for family in TOWERS)])
