"""How the benches talk to an API server: few coroutines over one session, each answer as JSON, watches as streams."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from kubernetes import client, config

__all__ = ["Api", "Body"]

Body = dict[str, Any]

_MERGE: Final = "application/merge-patch+json"
_BUSY: Final = 429
"""Also said of a kind whose definition has just been patched."""
_LONGEST_LINE: Final = 1 << 22


class Api:
    """The API server that KUBECONFIG names; use it as an async context."""

    def __init__(self, *, num_at_once: int) -> None:
        settings = client.Configuration()
        config.load_kube_config(os.environ["KUBECONFIG"], client_configuration=settings)
        self._host = settings.host
        self._ssl = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            self._ssl.load_cert_chain(settings.cert_file, settings.key_file)
        self._headers = {known["key"]: known["value"] for known in settings.auth_settings().values()}
        self._gate = asyncio.Semaphore(num_at_once)

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        self._session = aiohttp.ClientSession(
            self._host, connector=connector, headers=self._headers, read_bufsize=_LONGEST_LINE
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str) -> Body:
        """Read an object or a list."""
        return dict(json.loads(await self._ask("GET", path)))

    async def text(self, path: str) -> str:
        """Read a page that is not JSON."""
        return (await self._ask("GET", path)).decode()

    async def post(self, path: str, body: Body, *, accept: tuple[int, ...] = ()) -> Body:
        """Create an object; statuses in `accept` are no errors."""
        return dict(json.loads(await self._ask("POST", path, body=body, accept=accept)))

    async def patch(self, path: str, body: Body) -> Body:
        """Merge into an object or its status."""
        return dict(json.loads(await self._ask("PATCH", path, body=body)))

    async def delete(self, path: str) -> None:
        """Delete an object, or all of a kind."""
        await self._ask("DELETE", path, accept=(404,))

    async def watch(self, path: str) -> AsyncIterator[tuple[str, Body]]:
        """Give type and object of each event from now on, for ever; begun anew where the server ended it."""
        since = (await self.get(path))["metadata"]["resourceVersion"]
        while True:
            query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "3000"}
            timeout = aiohttp.ClientTimeout(total=None)
            async with self._session.get(path, params=query, timeout=timeout) as answer:
                if answer.status == _BUSY:
                    await asyncio.sleep(1)
                    continue
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"the watch of {path} broke: {event['object']}")
                    since = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]

    async def _ask(self, method: str, path: str, *, body: Body | None = None, accept: tuple[int, ...] = ()) -> bytes:
        kind = _MERGE if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        status = _BUSY
        while status == _BUSY:
            async with (
                self._gate,
                self._session.request(method, path, data=data, headers={"Content-Type": kind}) as answer,
            ):
                status, told = answer.status, await answer.read()
            if status == _BUSY:
                await asyncio.sleep(1)
        if status >= 400 and status not in accept:
            raise RuntimeError(f"{method} {path}: {status} {told.decode(errors='replace')[:300]}")
        return told
