"""The kinds of storage that the contract tests run against."""

import secrets
from pathlib import Path

import pytest

from llava_trainer.storage import Storage, open_storage


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(str(tmp_path / "job"))
    server = request.getfixturevalue("s3_owner")
    return open_storage(server.target(f"{server.new_bucket(f'bucket-{secrets.token_hex(4)}')}/jobs/one"))
