"""A job in a folder: what disks and their owners refuse, each by its name."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from llava_contract.run import StorageTarget
from llava_trainer.errors import InvalidSpec, MissingInput, NoSpace, StorageUnwritable, Unsupported
from llava_trainer.storage import (
    Forbidden,
    ObjectInfo,
    Storage,
    Unreachable,
    open_storage,
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "job"))


def test_a_staged_write_that_was_killed_is_not_listed(storage: Storage) -> None:
    storage.write("a/x", b"whole")
    storage.local_path("a/y#1").write_bytes(b"ha")  # what a SIGKILL leaves behind
    assert storage.list() == [ObjectInfo("a/x", 5)]


@pytest.mark.parametrize("spelling", ["data/x", "/data/x/", "file://{folder}/data/x", "{folder}/data/x"])
def test_a_uri_inside_the_prefix_names_the_same_object(tmp_path: Path, spelling: str) -> None:
    storage = open_storage(str(tmp_path))
    if spelling == "/data/x/":
        spelling = spelling.strip("/")
    assert storage.key(spelling.format(folder=tmp_path)) == "data/x"


def test_a_folder_with_a_space_has_a_uri_without(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "my job"))
    storage.write("x y", b"1")
    again = open_storage(StorageTarget(uri=storage.uri))
    assert again.read(storage.uri_of("x y").replace(" ", "%20")) == b"1"


@pytest.mark.parametrize("uri", ["pvc://claim/path", "hf://org/name"])
def test_a_place_that_cannot_hold_a_job_is_told_with_what_can(uri: str) -> None:
    with pytest.raises(Unsupported, match="use a path or a file:// URI"):
        open_storage(uri)


@pytest.mark.parametrize("uri", ["ftp://host/x", "file://host/x", "file://x", "s3://"])
def test_a_misspelt_uri_is_an_invalid_spec(uri: str) -> None:
    with pytest.raises(InvalidSpec, match=uri):
        open_storage(uri)


def test_a_job_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such folder"):
        open_storage(str(tmp_path / "job"), must_exist=True)
    assert not (tmp_path / "job").exists()


def test_a_storage_below_a_file_is_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable, match="file/job: cannot be written"):
        open_storage(str(tmp_path / "file" / "job"))


def test_space_that_is_not_there_is_told_in_numbers(storage: Storage) -> None:
    with pytest.raises(NoSpace, match=r"1,000,000,000\.000 GB are needed and [\d.,]+ GB are free"):
        storage.require_space(10**18)


def test_a_loop_is_unreachable_not_absent(storage: Storage) -> None:
    storage.local_path("x").symlink_to("x")
    assert isinstance(storage.look("x"), Unreachable)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from llava_trainer.storage import *
storage = open_storage(sys.argv[1])
storage.look("warm-up")
if os.getuid() == 0:
    os.setuid(65534)
try:
    answer = {action}
    print(type(answer).__name__)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("storage.look('locked/x')", Forbidden.__name__),
        ("storage.read('locked/x')", "StorageForbidden"),
        ("storage.list('locked')", "StorageForbidden"),
        ("storage.exists('locked/x')", "StorageForbidden"),
        ("storage.write('closed/y', b'')", "StorageUnwritable"),
        ("storage.delete('closed/x')", "StorageUnwritable"),
        ("materialise(sys.argv[1] + '/locked/x')", "StorageForbidden"),
    ],
)
def test_forbidden_is_not_absent(tmp_path: Path, action: str, answer: str) -> None:
    for name, mode in (("locked", 0o000), ("closed", 0o555)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
        (tmp_path / name).chmod(mode)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    script = textwrap.dedent(UNPRIVILEGED).format(action=action)
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    (tmp_path / "locked").chmod(0o755)
    assert done.stdout.strip() == answer


def test_a_full_disk_is_no_space_and_leaves_the_old_object(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from llava_trainer.storage import open_storage
storage = open_storage(sys.argv[1])
storage.write("x", b"old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    storage.write("x", bytes(1 << 20))
except Exception as error:
    print(type(error).__name__, storage.read("x"), len(storage.list()))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "NoSpace b'old' 1"
