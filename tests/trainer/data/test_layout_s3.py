"""Published trees and own files on S3: audited by their URIs, and nothing else of a tree is copied."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from llava_cli.main import main
from llava_contract.run import Stage
from support.published import write_tree
from support.s3_server import S3Server


@pytest.fixture
def root(s3_owner: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with both stages' parts of a tree."""
    monkeypatch.setenv("LLAVA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_owner.endpoint)
    for stage in (Stage.PRETRAIN, Stage.FINETUNE):
        write_tree(tmp_path / "tree", stage=stage)
    bucket = s3_owner.new_bucket(f"data-{secrets.token_hex(4)}")
    s3_owner.put_folder(f"{bucket}/tree", tmp_path / "tree")
    return f"{bucket}/tree"


def test_a_tree_on_s3_is_audited_by_its_root(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--layout", "llava-v1.5", "--root", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 7
    assert not list((tmp_path / "cache").rglob("LLaVA-Pretrain"))


def test_files_on_s3_are_audited_by_their_uris(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"{root}/LLaVA-Pretrain"
    words = ["--annotations", f"{folder}/blip_laion_cc_sbu_558k.json", "--images", f"{folder}/images"]
    assert main(["audit", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2


def test_a_part_that_the_bucket_lacks_is_named_with_its_archive(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--layout", "sharegpt4v", "--root", root]) == 13
    assert f"{root} holds no sharegpt4v/" in capsys.readouterr().err
