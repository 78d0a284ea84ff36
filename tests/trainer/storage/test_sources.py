"""Inputs by URI, and telling change without reading."""

import os
from pathlib import Path

import pytest

from llava_trainer.errors import MissingInput, Unsupported
from llava_trainer.storage import materialise, source_digest


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "file://localhost{}"])
def test_a_path_and_its_uri_are_the_same_place(tmp_path: Path, spelling: str) -> None:
    assert materialise(spelling.format(tmp_path)) == tmp_path


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=f"{tmp_path}/llm: there is nothing there"):
        materialise(f"file://{tmp_path}/llm")


def test_a_claim_exists_only_on_a_cluster() -> None:
    with pytest.raises(Unsupported, match="pvc://claim/llm"):
        materialise("pvc://claim/llm")


@pytest.mark.parametrize("uri", ["hf://llava-dev/nothing-here", "hf://llava-dev/nothing-here@main", "hf://a/b/c"])
def test_a_hub_repository_that_is_not_cached_is_missing_offline(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingInput, match=uri):
        materialise(uri)


def test_the_digest_is_stable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    assert source_digest(tmp_path) == source_digest(tmp_path)


@pytest.mark.parametrize("change", ["size", "time", "name", "new", "gone"])
def test_every_change_changes_the_digest(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    os.utime(file, ns=(1, 1))
    before = source_digest(tmp_path)
    if change == "size":
        file.write_text("22")
        os.utime(file, ns=(1, 1))
    elif change == "time":
        os.utime(file, ns=(1, 2))
    elif change == "name":
        file.rename(tmp_path / "b")
    elif change == "new":
        (tmp_path / "b").write_text("")
    else:
        file.unlink()
    assert source_digest(tmp_path) != before


def test_no_content_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    os.utime(tmp_path / "x", ns=(5, 5))
    before = source_digest(tmp_path / "x")
    (tmp_path / "x").write_text("2")
    os.utime(tmp_path / "x", ns=(5, 5))
    assert source_digest(tmp_path / "x") == before


def test_a_missing_source_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        source_digest(tmp_path / "none")
