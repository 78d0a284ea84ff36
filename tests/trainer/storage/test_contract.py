"""What every kind of storage promises: the same tests against a folder and against a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from llava_trainer.errors import InvalidSpec, MissingInput
from llava_trainer.storage import Absent, AlreadyWritten, Found, ObjectInfo, Storage


def test_what_was_written_is_read(storage: Storage) -> None:
    storage.write("a/b/c.json", b"{}")
    assert storage.read("a/b/c.json") == b"{}"


def test_a_write_replaces(storage: Storage) -> None:
    storage.write("x", b"old")
    storage.write("x", b"new")
    assert storage.read("x") == b"new"


def test_create_only_never_replaces(storage: Storage) -> None:
    storage.write("x", b"first", create_only=True)
    with pytest.raises(AlreadyWritten, match="another writer was first"):
        storage.write("x", b"second", create_only=True)
    assert storage.read("x") == b"first"


def test_of_many_create_only_writers_one_wins(storage: Storage) -> None:
    def attempt(number: int) -> int | None:
        try:
            storage.write("MANIFEST.json", str(number).encode() * 4096, create_only=True)
        except AlreadyWritten:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(attempt, range(8)) if number is not None]
    assert [str(number).encode() * 4096 for number in winners] == [storage.read("MANIFEST.json")]


def test_list_is_sorted_and_knows_sizes(storage: Storage) -> None:
    for path in ("b", "a/2", "a/1", "ab/3"):
        storage.write(path, b"..")
    assert storage.list("a") == [ObjectInfo("a/1", 2), ObjectInfo("a/2", 2)]
    assert len(storage.list()) == 4


def test_nothing_under_a_prefix_is_an_empty_list(storage: Storage) -> None:
    assert storage.list("checkpoints") == []


@pytest.mark.parametrize(("path", "there"), [("a/b", True), ("a", False), ("c", False), ("a/b/c", False)])
def test_only_an_object_exists(storage: Storage, path: str, *, there: bool) -> None:
    storage.write("a/b", b"")
    assert storage.exists(path) is there


def test_deleting_twice_is_fine(storage: Storage) -> None:
    storage.write("a/b", b"")
    storage.delete("a/b")
    storage.delete("a/b")
    assert storage.list() == []


def test_a_place_outside_the_prefix_is_refused(storage: Storage) -> None:
    with pytest.raises(InvalidSpec, match="outside"):
        storage.read("file:///etc/hostname")


def test_enough_space_is_silent(storage: Storage) -> None:
    storage.require_space(1)
    storage.require_writable()
    assert storage.list() == []


def test_absent_is_absent(storage: Storage) -> None:
    assert isinstance(storage.look("x"), Absent)


def test_found_is_found(storage: Storage) -> None:
    storage.write("x", b"1")
    assert storage.look("x") == Found(b"1")


@pytest.mark.parametrize("spelling", ["data/x", "data/x/", "{uri}/data/x", "{uri}/data/x/"])
def test_a_uri_inside_the_prefix_names_the_same_object(storage: Storage, spelling: str) -> None:
    storage.write("data/x", b"here")
    assert storage.read(spelling.format(uri=storage.uri)) == b"here"


def test_a_neighbour_whose_name_begins_alike_is_outside(storage: Storage) -> None:
    with pytest.raises(InvalidSpec, match="outside"):
        storage.read(f"{storage.uri}-2/x")


def test_an_object_can_be_opened_as_a_file(storage: Storage) -> None:
    storage.write("a/x", b"bytes")
    assert storage.local_path("a/x").read_bytes() == b"bytes"


def test_a_prefix_can_be_opened_as_a_folder(storage: Storage) -> None:
    storage.write("a/x", b"1")
    storage.write("a/b/y", b"2")
    folder = storage.local_path(storage.uri_of("a"))
    assert {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()} == {
        "x": b"1", "b/y": b"2",
    }  # fmt: skip


def test_an_object_that_was_replaced_is_opened_anew(storage: Storage) -> None:
    storage.write("x", b"old")
    storage.local_path("x")
    storage.write("x", b"new")
    assert storage.local_path("x").read_bytes() == b"new"


def test_what_was_deleted_is_not_in_the_folder(storage: Storage) -> None:
    storage.write("a/x", b"1")
    storage.write("a/y", b"2")
    storage.local_path("a")
    storage.delete("a/y")
    assert [file.name for file in storage.local_path("a").iterdir()] == ["x"]


def test_a_draft_is_stored_whole(storage: Storage) -> None:
    storage.draft("a/part").write_bytes(b"drafted")
    assert not storage.exists("a/part")
    storage.adopt("a/part")
    assert storage.list() == [ObjectInfo("a/part", 7)]
    assert not storage.draft("a/part").exists()


def test_a_new_folder_takes_the_place_of_the_old(storage: Storage) -> None:
    storage.write("m/old", b"1")
    with storage.new_folder("m") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "new").write_bytes(b"22")
    assert storage.list() == [ObjectInfo("m/deep/new", 2)]


def test_a_new_folder_can_keep_what_was_there(storage: Storage) -> None:
    storage.write("m/old", b"1")
    with storage.new_folder("m", keep_old=True) as folder:
        (folder / "new").write_bytes(b"22")
    assert storage.list() == [ObjectInfo("m/new", 2), ObjectInfo("m/old", 1)]


def test_a_folder_that_failed_changes_nothing(storage: Storage) -> None:
    storage.write("m/old", b"1")
    with suppress(ZeroDivisionError), storage.new_folder("m") as folder:
        (folder / "new").write_bytes(b"22")
        raise ZeroDivisionError
    assert storage.list() == [ObjectInfo("m/old", 1)]


def test_nothing_there_cannot_be_read(storage: Storage) -> None:
    with pytest.raises(MissingInput, match="none/x: there is nothing there"):
        storage.read("none/x")
