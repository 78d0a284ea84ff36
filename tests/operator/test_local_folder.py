"""A job's directory: refused early, owned alone, written whole."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from llava_operator.errors import DirectoryBusy, NoSpace, StateUnreadable, Unsupported, Unwritable
from llava_operator.local_folder import locked_folder, prepare_folder, write_whole
from llava_operator.local_resources import open_job
from llava_operator.local_spec import job_folder, local_path, localised
from support.jobs import TRAINING, spec


def test_too_little_space_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="no space left"):
        prepare_folder(tmp_path, min_free_bytes=2**62)


@pytest.mark.parametrize("name", ["file/below", "file"])
def test_a_file_in_the_way_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unwritable, match="cannot be written"):
        prepare_folder(tmp_path / name)


def test_only_one_owner(tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(DirectoryBusy), locked_folder(tmp_path):
        pass


def test_a_write_leaves_no_draft(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "1")
    write_whole(tmp_path / "a.json", "2")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "2")]


def test_a_broken_job_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{")
    with pytest.raises(StateUnreadable), open_job(tmp_path, spec(), name="demo"):
        pass
    assert (tmp_path / "job.json").read_text() == "{"


def test_the_same_job_keeps_its_identity(tmp_path: Path) -> None:
    uids = []
    for _ in range(2):
        with open_job(tmp_path, spec(), name="demo") as resources:
            found = resources.get(resources.key)
            uids.append(found and found.uid)
    assert uids[0] == uids[1] is not None


@pytest.mark.parametrize(
    ("uri", "want"),
    [
        ("data/a.json", "file://{base}/data/a.json"),
        ("../a.json", "file://{parent}/a.json"),
        ("/abs/a.json", "/abs/a.json"),
        ("hf://org/name", "hf://org/name"),
        ("file:///abs/a.json", "file:///abs/a.json"),
    ],
)
def test_relative_paths_start_at_the_yaml(tmp_path: Path, uri: str, want: str) -> None:
    base = tmp_path / "a folder"
    benchmarks = {"benchmarks": [{"name": "shapes", "uri": uri}]}
    found = localised(spec(evaluate=benchmarks), base=base, folder=None).evaluate
    assert found is not None
    assert unquote(found.benchmarks[0].uri) == want.format(base=base.as_posix(), parent=tmp_path.as_posix())


def test_published_data_start_at_the_yaml(tmp_path: Path) -> None:
    training = {**TRAINING, "data": [{"layout": "llava-v1.5", "root": "data"}]}
    found = localised(spec(pretrain=training), base=tmp_path, folder=None).pretrain
    assert found is not None
    assert found.data is not None
    assert found.data[0].root == (tmp_path / "data").as_uri()


def test_images_of_sample_answers_start_at_the_yaml(tmp_path: Path) -> None:
    training = {**TRAINING, "samples": {"images": ["a.png", "/abs/b.png"]}}
    found = localised(spec(pretrain=training), base=tmp_path, folder=None).pretrain
    assert found is not None
    assert found.samples is not None
    assert found.samples.images == [(tmp_path / "a.png").as_uri(), "/abs/b.png"]


def test_dir_takes_the_place_of_the_storage(tmp_path: Path) -> None:
    there = localised(spec(storage={"uri": "s3://bucket/x", "region": "r"}), base=tmp_path, folder=tmp_path / "a b")
    assert local_path(there.storage.uri) == tmp_path / "a b"
    assert there.storage.region is None


def test_a_bucket_is_no_folder() -> None:
    with pytest.raises(Unsupported, match="--dir"):
        local_path("s3://bucket/x")


def test_a_job_in_a_bucket_is_known_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_CACHE_DIR", str(tmp_path))
    assert job_folder("s3://bucket/a").parent == tmp_path / "jobs"
    assert job_folder("s3://bucket/a") == job_folder("s3://bucket/a/") != job_folder("s3://bucket/b")


def test_a_job_in_a_folder_is_known_there(tmp_path: Path) -> None:
    assert job_folder(tmp_path.as_uri()) == tmp_path
