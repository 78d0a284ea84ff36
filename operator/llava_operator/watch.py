"""The only module that knows kopf: watch events become bodies in the store and keys on the queue, and nothing else.

kopf itself says nothing when a list is complete, but it calls no event handler before all indices are filled. The index
here keeps nothing: it feeds the store while kinds are being listed, and the first event says that all of them were.
Nor does it say when it lists a kind anew, which is when deletions go untold: the session that we give it does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import kopf

from llava_operator.core.job import Key
from llava_operator.store import OWNER_UID, Kind, Store

__all__ = ["SERVER_TIMEOUT_S", "Told", "watch"]

SERVER_TIMEOUT_S: Final = 240
"""The server ends a watch after this long, and it is begun anew where it ended."""
_CLIENT_TIMEOUT_S: Final = SERVER_TIMEOUT_S + 30
_CONNECT_TIMEOUT_S: Final = 10
_PLURALS: Final = frozenset(kind.value for kind in Kind)
_NOBODY: Final[Any] = "llava-operator"
"""For kopf's peering, which is not used; else it asks for the user's name, and that of a container has none."""
_CHUNK: Final = 500
"""Objects that one answer to a list holds: thousands at once would need hundreds of megabytes for a moment."""
_GROUPS: Final = {
    Kind.TRAIN_JOB: ("llava.dev", "v1alpha1"),
    Kind.EVAL_JOB: ("llava.dev", "v1alpha1"),
    Kind.PYTORCH_JOB: ("kubeflow.org", "v1"),
    Kind.POD: ("", "v1"),
}


@dataclass(frozen=True)
class Told:
    """Who is told what."""

    wake: Callable[[Key], None]
    """The key of whatever an event belongs to."""
    listed: Callable[[], None]
    """That every kind has been listed, and again whenever one of them is being listed anew."""
    asked: Callable[[str, str], None]
    """The verb and the kind of each request for what is watched."""


def watch(store: Store, told: Told, *, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    """Watch until `stop` is set; raises what kopf raises when a watch cannot go on."""
    registry = kopf.OperatorRegistry()
    feed = _Feed(store, told)
    kopf.on.login(registry=registry)(_Login(feed.asked).login)
    for kind in Kind:
        _register(registry, kind, feed)
    asyncio.run(
        kopf.operator(
            registry=registry,
            settings=_settings(),
            clusterwide=not namespaces,
            namespaces=list(namespaces),
            standalone=True,
            identity=_NOBODY,
            stop_flag=stop,
        )
    )


class _Feed:
    """What the handlers of all kinds do."""

    def __init__(self, store: Store, told: Told) -> None:
        self._store, self._told = store, told

    def exists(self, kind: Kind, body: kopf.Body) -> None:
        """Take what is listed or changed."""
        self._store.put(kind, dict(body))

    def happened(self, kind: Kind, event: kopf.RawEvent) -> None:
        """Take a deletion, and wake the owner."""
        if not self._store.is_complete:
            self._store.mark_listed(*Kind)
            self._told.listed()
        body = event["object"]
        owner = self._store.owner_key(kind, body)
        if event["type"] == "DELETED":
            self._store.remove(kind, body)
        if owner is not None:
            self._told.wake(owner)

    def asked(self, plural: str, *, is_watch: bool) -> None:
        """Count a request, and notice that a kind was listed anew."""
        if plural in _PLURALS:
            self._told.asked("watch" if is_watch else "list", plural)
            if not is_watch and self._store.is_complete:
                self._told.listed()


def _register(registry: kopf.OperatorRegistry, kind: Kind, feed: _Feed) -> None:
    group, version = _GROUPS[kind]

    @kopf.index(group, version, kind.value, registry=registry, id=f"{kind.value}-exists")
    async def exists(body: kopf.Body, **_: Any) -> None:
        feed.exists(kind, body)

    @kopf.on.event(group, version, kind.value, registry=registry, id=f"{kind.value}-happened")
    async def happened(event: kopf.RawEvent, **_: Any) -> None:
        feed.happened(kind, event)


class _NoDifferences(kopf.DiffBaseStorage):
    """Spares kopf to copy each body twice in order to say what changed: nobody here asks it."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002  its signature
        """Find nothing in a body that could change."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        """Know of no earlier body."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Leave no note on the object."""


class _Asked(Protocol):
    """Gets the last word of a URL that was asked for."""

    def __call__(self, plural: str, *, is_watch: bool) -> None: ...


class _Login:
    """Who kopf is to the API server, in sessions whose requests are told to us."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._last: tuple[kopf.ConnectionInfo, kopf.AiohttpSession] | None = None

    async def login(self, **known: Any) -> kopf.AiohttpSession | None:
        """Make a session; credentials that have not changed get the same one, so that kopf sees that they are spent."""
        info = kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)
        if info is None:
            return None
        if self._last is None or self._last[0] != info:
            self._last = (info, self._session(info))
        return self._last[1]

    def _session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        traces = aiohttp.TraceConfig()
        traces.on_request_end.append(self._ended)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
            trace_configs=[traces],
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, expiration=info.expiration,
            aiohttp_session=session,
        )  # fmt: skip

    async def _ended(
        self, session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestEndParams
    ) -> None:
        del session, context
        self._asked(params.url.name, is_watch="watch" in params.url.query)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDifferences()
    # It would want to list and watch CRDs and namespaces, which nobody has to grant us.
    settings.scanning.disabled = True
    settings.watching.chunk_size = _CHUNK
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.client_timeout = _CLIENT_TIMEOUT_S
    settings.watching.connect_timeout = _CONNECT_TIMEOUT_S
    for children in (Kind.POD, Kind.PYTORCH_JOB):
        settings.watching.label_selectors[children.value] = OWNER_UID
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # It warns that it takes no signals in a thread; the main thread does.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    return settings
