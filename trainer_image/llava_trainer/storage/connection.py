"""How an S3 server is reached: endpoint, region, addressing, credentials that renew themselves, and patience."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from llava_contract.run import ModelStorage, StorageTarget
from llava_trainer.errors import InvalidSpec, StorageForbidden
from llava_trainer.storage.location import Scheme, parse_location

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["connect", "endpoint_of"]

_KEYS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_FRESH: Final = timedelta(minutes=10)
"""botocore renews credentials that last less than this; asking it less often would use them after their end."""
_CLIENT: Final[ClientConfig] = {"connect_timeout": "10s", "timeout": "15 minutes"}
"""A request's time includes its body: the default of 30 s ends every large upload on a slow line."""
_RETRIES: Final[RetryConfig] = {"max_retries": 8, "retry_timeout": timedelta(minutes=2)}


def connect(bucket: str, prefix: str, server: StorageTarget | None) -> S3Store:
    """Open a prefix of a bucket on the server of an s3:// storage, else on the one that the environment names.

    Nothing is asked yet. Raises StorageForbidden when there are no credentials to be found.
    """
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # else each store says where it found them
    endpoint = endpoint_of(server)
    path_style = server.path_style if _is_s3(server) and server else bool(endpoint)
    region = server.region if server else None
    session = boto3.Session(region_name=region, **_own_keys(server))
    try:
        provider = Boto3CredentialProvider(session, ttl=_FRESH)
    except (ValueError, BotoCoreError) as error:
        raise StorageForbidden(
            f"s3://{bucket}: there are no S3 credentials ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or name spec.storage.credentialsSecretName on a cluster."
        ) from error
    options: dict[str, Any] = {} if endpoint is None else {"endpoint": _addressed(endpoint, bucket, path_style)}
    return S3Store(
        bucket,
        prefix=prefix or None,
        region=session.region_name or "us-east-1",
        virtual_hosted_style_request=not path_style,
        credential_provider=provider,
        client_options={**_CLIENT, "allow_http": (endpoint or "").startswith("http://")},
        retry_config=_RETRIES,
        **options,
    )


def endpoint_of(server: StorageTarget | None) -> str | None:
    """The URL of the server, None for AWS itself."""
    if server and _is_s3(server) and server.endpoint:
        return server.endpoint.rstrip("/")
    named = next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
    return named.rstrip("/") if named else None


def _own_keys(server: StorageTarget | None) -> dict[str, str]:
    """Read the keys of a server that has its own; without them boto3 looks where it always does."""
    prefix = server.env_prefix if isinstance(server, ModelStorage) else ""
    found = {word: os.environ.get(f"{prefix}{word.upper()}") for word in _KEYS} if prefix else {}
    return {word: value for word, value in found.items() if value}


def _is_s3(server: StorageTarget | None) -> bool:
    return server is not None and parse_location(server.uri).scheme is Scheme.S3


def _addressed(endpoint: str, bucket: str, path_style: bool) -> str:
    """Put the bucket into the host name unless it goes into the path; obstore leaves that to its caller."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidSpec(f"storage.endpoint {endpoint}: not the URL of a server; write http(s)://host:port.")
    return endpoint if path_style else f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}"
