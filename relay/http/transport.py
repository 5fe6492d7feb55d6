"""Transports for httpx2 and for httpx: the request goes to the service that its URL names.

    http://gpu1:8000/v1/models       the service gpu1:8000, as -L 3000:gpu1:8000 means it
    https://gpu1/                    gpu1:443; TLS ends at the service

Both libraries have a pool of connections (httpcore's) that takes the network from somebody else,
which is all that is needed; what is here is their own default transports' conversion of requests,
answers and errors, which neither gives away.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from relay.http.network import AsyncNetwork, Errors, Opens, SyncNetwork

MAX_CONNECTIONS: Final = 100
MAX_KEEPALIVE_CONNECTIONS: Final = 20
KEEPALIVE_EXPIRY: Final = 5.0
"""httpx' own defaults. The last is in seconds."""

MAPPED: Final = (
    "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "TimeoutException",
    "ConnectError", "ReadError", "WriteError", "ProxyError", "NetworkError",
    "LocalProtocolError", "RemoteProtocolError", "ProtocolError", "UnsupportedProtocol",
)  # fmt: skip
"""The exceptions that both layers have by one name; what is more special stands before its base."""


@dataclass(frozen=True, slots=True)
class Library:
    """A client and the pool below it: httpx2 and httpcore2, or httpx and httpcore."""

    client: Any
    pool: Any

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """What the pool raises, as the client's users know it."""
        try:
            yield
        except Exception as error:
            for name in MAPPED:
                if isinstance(error, getattr(self.pool, name)):
                    raise getattr(self.client, name)(str(error)) from error
            raise

    def request(self, request: Any) -> Any:
        """The client's request as the pool's."""
        url = request.url
        return self.pool.Request(
            method=request.method,
            url=self.pool.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )

    def response(self, response: Any, stream: Any) -> Any:
        """The pool's answer as the client's, with its body."""
        return self.client.Response(
            status_code=response.status,
            headers=response.headers,
            stream=stream,
            extensions=response.extensions,
        )

    def settings(self, verify: ssl.SSLContext | None, http2: bool) -> dict[str, Any]:
        """Of a pool."""
        return {
            "ssl_context": verify,
            "max_connections": MAX_CONNECTIONS,
            "max_keepalive_connections": MAX_KEEPALIVE_CONNECTIONS,
            "keepalive_expiry": KEEPALIVE_EXPIRY,
            "http2": http2,
        }


class OpensSockets(Protocol):
    """What a tunnel of threads does for these."""

    def open_socket(self, service: str, /) -> Any: ...


class AsyncOver:
    """The asynchronous transport of a library, but for the library's own base class."""

    library: ClassVar[Library]
    body: ClassVar[Any]
    """The base class of an answer's body."""

    def __init__(
        self, tunnel: Opens, *, verify: ssl.SSLContext | None = None, http2: bool = False
    ) -> None:
        """
        Args:
            tunnel: leads to the services.
            verify: how a service is known that speaks TLS; None: by the authorities that httpcore
                trusts.
            http2: HTTP/2 where a service speaks it (wants the package h2).
        """
        library = self.library
        self._pool = library.pool.AsyncConnectionPool(
            network_backend=AsyncNetwork(tunnel, Errors.of(library.pool)),
            **library.settings(verify, http2),
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Called by the library's client."""
        library = self.library
        with library.own_errors():
            response = await self._pool.handle_async_request(library.request(request))
        return library.response(response, self.body(response.stream))

    async def aclose(self) -> None:
        """Close what is open. The tunnel stays."""
        with self.library.own_errors():
            await self._pool.aclose()


class SyncOver:
    """The same for threads."""

    library: ClassVar[Library]
    body: ClassVar[Any]

    def __init__(
        self, tunnel: OpensSockets, *, verify: ssl.SSLContext | None = None, http2: bool = False
    ) -> None:
        """As `AsyncOver`."""
        library = self.library
        self._pool = library.pool.ConnectionPool(
            network_backend=SyncNetwork(tunnel.open_socket, Errors.of(library.pool)),
            **library.settings(verify, http2),
        )

    def handle_request(self, request: Any) -> Any:
        """Called by the library's client."""
        library = self.library
        with library.own_errors():
            response = self._pool.handle_request(library.request(request))
        return library.response(response, self.body(response.stream))

    def close(self) -> None:
        """Close what is open. The tunnel stays."""
        with self.library.own_errors():
            self._pool.close()


class AsyncBodyOver:
    """The body of an answer, as it comes."""

    library: ClassVar[Library]

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self.library.own_errors():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class SyncBodyOver:
    """The same for threads."""

    library: ClassVar[Library]

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with self.library.own_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()
