"""A job on S3: what a real server answers, each answer by its name, and copies that are not made twice."""

import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from llava_contract.run import ModelStorage, StorageTarget
from llava_trainer.errors import (
    Infrastructure,
    InvalidSpec,
    LlavaError,
    MissingInput,
    NoSpace,
    StorageForbidden,
    StorageUnwritable,
)
from llava_trainer.storage import Absent, Forbidden, NoBucket, Unreachable, materialise, open_storage, source_digest
from llava_trainer.storage.answers import Access, translated
from llava_trainer.storage.bucket import BucketStorage
from llava_trainer.storage.connection import connect
from llava_trainer.storage.mirror import Mirror
from support.s3_server import OWNER, READABLE, READER, S3Server


@pytest.fixture
def bucket(s3_owner: S3Server) -> str:
    return s3_owner.new_bucket(f"bucket-{secrets.token_hex(4)}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_trainer.storage.connection._RETRIES", {"max_retries": 0})


def as_user(monkeypatch: pytest.MonkeyPatch, user: tuple[str, str], *, prefix: str = "") -> None:
    monkeypatch.setenv(f"{prefix}AWS_ACCESS_KEY_ID", user[0])
    monkeypatch.setenv(f"{prefix}AWS_SECRET_ACCESS_KEY", user[1])


def test_a_bucket_that_is_not_there_is_told_at_once(s3_owner: S3Server) -> None:
    with pytest.raises(NoBucket, match="s3://nowhere/job: there is no such bucket"):
        open_storage(s3_owner.target("s3://nowhere/job"))


def test_a_bucket_that_went_away_is_not_absence(s3_owner: S3Server, bucket: str) -> None:
    storage = open_storage(s3_owner.target(f"{bucket}/job"))
    s3_owner.client().delete_bucket(Bucket=bucket.removeprefix("s3://"))
    assert isinstance(storage.look("x"), Unreachable)


def test_writing_to_a_bucket_that_went_away_is_unwritable(s3_owner: S3Server, bucket: str) -> None:
    storage = open_storage(s3_owner.target(f"{bucket}/job"))
    s3_owner.client().delete_bucket(Bucket=bucket.removeprefix("s3://"))
    with pytest.raises(StorageUnwritable, match="NoSuchBucket"):
        storage.write("x", b"1")


@pytest.mark.parametrize("user", [(OWNER[0], "wrong"), ("nobody", "wrong"), READER])
def test_wrong_credentials_are_forbidden(
    s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, user: tuple[str, str]
) -> None:
    as_user(monkeypatch, user)
    with pytest.raises(StorageForbidden, match=f"{bucket}/job: may not be used"):
        open_storage(s3_owner.target(f"{bucket}/job"))


def test_no_credentials_are_told_with_what_to_set(
    s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageForbidden, match="set AWS_ACCESS_KEY_ID"):
        open_storage(s3_owner.target(f"{bucket}/job"))


def test_no_secret_is_told(s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, (OWNER[0], "a-wrong-secret"))
    with pytest.raises(StorageForbidden) as caught:
        open_storage(s3_owner.target(f"{bucket}/job"))
    assert "a-wrong-secret" not in str(caught.value)


def test_who_may_only_read_reads_and_cannot_write(s3_owner: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    target = s3_owner.target(f"s3://{READABLE}/{secrets.token_hex(4)}")
    open_storage(target).write("x", b"1")
    as_user(monkeypatch, READER)
    storage = open_storage(target)
    assert storage.read("x") == b"1"
    assert isinstance(storage.look("y"), Absent)
    with pytest.raises(StorageUnwritable, match=r"cannot be written \(AccessDenied"):
        storage.require_writable()


def test_forbidden_is_not_absent(s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, READER)
    store = connect(bucket.removeprefix("s3://"), "job", s3_owner.target(bucket))
    assert isinstance(BucketStorage(store, Mirror(store, f"{bucket}/job", Path(), "job")).look("x"), Forbidden)


def test_a_model_with_keys_of_its_own_is_read_with_them(
    s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_owner.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="model/word", Body=b"theirs")
    as_user(monkeypatch, READER)
    as_user(monkeypatch, OWNER, prefix="LLAVA_MODEL_")
    target = s3_owner.target(f"{bucket}/model")
    theirs = ModelStorage(**target.model_dump(), env_prefix="LLAVA_MODEL_")
    assert (materialise(f"{bucket}/model", theirs) / "word").read_bytes() == b"theirs"
    with pytest.raises(StorageForbidden):
        materialise(f"{bucket}/model", target)


def test_a_model_without_keys_of_its_own_is_read_with_those_that_there_are(s3_owner: S3Server, bucket: str) -> None:
    s3_owner.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="model/word", Body=b"ours")
    theirs = ModelStorage(**s3_owner.target(f"{bucket}/model").model_dump(), env_prefix="LLAVA_MODEL_")
    assert (materialise(f"{bucket}/model", theirs) / "word").read_bytes() == b"ours"


@pytest.mark.usefixtures("impatient", "s3_owner")
def test_a_server_that_does_not_answer_is_infrastructure() -> None:
    with pytest.raises(Infrastructure, match="try again"):
        open_storage(StorageTarget(uri="s3://bucket/job", endpoint="http://127.0.0.1:1", path_style=True))


@pytest.mark.parametrize("endpoint", ["http://", "https:///x"])
@pytest.mark.usefixtures("s3_owner")
def test_an_endpoint_that_is_no_url_is_an_invalid_spec(endpoint: str) -> None:
    with pytest.raises(InvalidSpec, match=r"storage\.endpoint"):
        open_storage(StorageTarget(uri="s3://bucket/job", endpoint=endpoint))


def answered(status: str, code: str) -> GenericError:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>So it is.</Message></Error>'
    return GenericError(f"Generic S3 error: Server returned non-2xx status code: {status}: {body}\n\nDebug source:")


@pytest.mark.parametrize(
    ("status", "code", "reading", "writing"),
    [
        ("400 Bad Request", "ExpiredToken", StorageForbidden, StorageForbidden),
        ("400 Bad Request", "TokenRefreshRequired", StorageForbidden, StorageForbidden),
        ("403 Forbidden", "AccessDenied", StorageForbidden, StorageUnwritable),
        ("404 Not Found", "NoSuchBucket", NoBucket, StorageUnwritable),
        ("301 Moved Permanently", "PermanentRedirect", InvalidSpec, InvalidSpec),
        ("403 Forbidden", "QuotaExceeded", NoSpace, NoSpace),
        ("503 Service Unavailable", "SlowDown", Infrastructure, Infrastructure),
    ],
)
def test_every_answer_has_its_name(
    status: str, code: str, reading: type[LlavaError], writing: type[LlavaError]
) -> None:
    for access, kind in ((Access.READ, reading), (Access.WRITE, writing)):
        with (
            pytest.raises(LlavaError, match=rf"s3://b/x: .*\({code}: So it is\.\)") as caught,
            translated(access, "s3://b/x"),
        ):
            raise answered(status, code)
        assert type(caught.value) is kind


def put(server: S3Server, bucket: str, **objects: bytes) -> str:
    for name, content in objects.items():
        server.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=f"llm/{name}", Body=content)
    return f"{bucket}/llm"


def test_a_second_attempt_downloads_nothing(s3_owner: S3Server, bucket: str) -> None:
    uri = put(s3_owner, bucket, config=b"{}", weights=bytes(100))
    first = {file: file.stat() for file in materialise(uri, s3_owner.target(bucket)).iterdir()}
    second = {file: file.stat() for file in materialise(uri, s3_owner.target(bucket)).iterdir()}
    assert {file.name for file in first} == {"config", "weights"}
    assert [stat.st_ino for stat in first.values()] == [stat.st_ino for stat in second.values()]


@pytest.mark.parametrize("damage", [b"", b"longer than it was"])
def test_a_copy_of_another_size_is_made_anew(s3_owner: S3Server, bucket: str, damage: bytes) -> None:
    file = materialise(f"{put(s3_owner, bucket, config=b'{}')}/config", s3_owner.target(bucket))
    file.write_bytes(damage)
    assert materialise(f"{bucket}/llm/config", s3_owner.target(bucket)).read_bytes() == b"{}"


def test_copies_of_two_machines_are_alike_to_the_digest(
    s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = put(s3_owner, bucket, a=b"1", b=b"2")
    here = source_digest(materialise(uri, s3_owner.target(bucket)))
    monkeypatch.setenv("LLAVA_CACHE_DIR", str(tmp_path / "another"))
    assert source_digest(materialise(uri, s3_owner.target(bucket))) == here


def test_the_environment_can_name_the_server(s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(s3_owner, bucket, config=b"{}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_owner.endpoint)
    assert (materialise(uri, StorageTarget(uri="/some/folder")) / "config").read_bytes() == b"{}"


def test_nothing_at_a_uri_is_missing(s3_owner: S3Server, bucket: str) -> None:
    with pytest.raises(MissingInput, match=f"{bucket}/llm: there is nothing there"):
        materialise(f"{bucket}/llm", s3_owner.target(bucket))


def test_half_a_folder_is_not_taken_for_whole(s3_owner: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(s3_owner.target(f"{bucket}/job"))
    with monkeypatch.context() as context, suppress(ZeroDivisionError), storage.new_folder("model") as folder:
        (folder / "a").write_bytes(b"1")
        context.setattr(BucketStorage, "_send", lambda *_: 1 / 0)
    with pytest.raises(MissingInput, match="only a part of it has been written"):
        materialise(f"{bucket}/job/model", s3_owner.target(bucket))
    with storage.new_folder("model") as folder:
        (folder / "a").write_bytes(b"1")
    assert [file.name for file in storage.local_path("model").iterdir()] == ["a"]


def test_a_large_file_is_sent_in_parts_and_leaves_none_behind(s3_owner: S3Server, bucket: str) -> None:
    storage = open_storage(s3_owner.target(f"{bucket}/job"))
    content = secrets.token_bytes(1 << 20) * 40
    storage.draft("big").write_bytes(content)
    storage.adopt("big")
    assert storage.local_path("big").read_bytes() == content
    name = bucket.removeprefix("s3://")
    assert s3_owner.client().head_object(Bucket=name, Key="job/big")["ETag"].strip('"').endswith("-2")
    assert not s3_owner.client().list_multipart_uploads(Bucket=name).get("Uploads")


def test_a_job_in_a_folder_never_imports_boto3(tmp_path: Path) -> None:
    script = """
import sys
from llava_trainer.storage import open_storage
open_storage(sys.argv[1]).write("x", b"1")
print([name for name in ("boto3", "botocore") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
