"""Streams of a tunnel as httpcore's network: what its pools of connections are built on.

httpcore 1 and httpcore2 have the same shape and each its own exceptions, so these are given
(`Errors`). Nothing else of theirs is used here: a pool takes what has these methods.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from relay.core.forward import format_address
from relay.errors import RelayError
from relay.io.memory import StreamAttribute


@dataclass(frozen=True, slots=True)
class Errors:
    """What a library's users catch."""

    connect: type[Exception]
    connect_timeout: type[Exception]
    read: type[Exception]
    read_timeout: type[Exception]
    write: type[Exception]
    write_timeout: type[Exception]

    @classmethod
    def of(cls, httpcore: Any) -> Errors:
        """Those of a module of httpcore's kind."""
        return cls(
            httpcore.ConnectError, httpcore.ConnectTimeout,
            httpcore.ReadError, httpcore.ReadTimeout,
            httpcore.WriteError, httpcore.WriteTimeout,
        )  # fmt: skip


_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, RelayError)


@contextmanager
def told_as(failed: type[Exception], timeout: type[Exception]) -> Iterator[None]:
    """The failures of a stream by a library's own names. (TimeoutError is an OSError.)"""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except _BROKEN as error:
        raise failed(str(error) or "the stream broke") from error


def _no_unix_socket() -> NoReturn:
    raise NotImplementedError("a tunnel leads to services, which have a name and a port")


# -- asyncio and trio


class Opens(Protocol):
    """What a tunnel does for these."""

    def open(self, service: str, /) -> Awaitable[ByteStream]: ...


class AsyncNetwork:
    """httpcore's AsyncNetworkBackend."""

    def __init__(self, tunnel: Opens, errors: Errors) -> None:
        self._tunnel = tunnel
        self._errors = errors

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        with told_as(self._errors.connect, self._errors.connect_timeout):
            with anyio.fail_after(timeout):
                stream = await self._tunnel.open(format_address(host, port))
        return AsyncNetworkStream(stream, self._errors)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> AsyncNetworkStream:
        _no_unix_socket()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class AsyncNetworkStream:
    """httpcore's of the same name. Times are seconds; None: for ever."""

    def __init__(self, stream: ByteStream, errors: Errors) -> None:
        self._stream = stream
        self._errors = errors

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with told_as(self._errors.read, self._errors.read_timeout):
            with anyio.fail_after(timeout):
                try:
                    return await self._stream.receive(max_bytes)
                except anyio.EndOfStream:
                    return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with told_as(self._errors.write, self._errors.write_timeout):
                with anyio.fail_after(timeout):
                    await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> AsyncNetworkStream:
        try:
            with told_as(self._errors.connect, self._errors.connect_timeout):
                with anyio.fail_after(timeout):
                    # (As browsers do: many servers end without saying so.)
                    stream = await TLSStream.wrap(
                        self._stream, hostname=server_hostname, ssl_context=ssl_context,
                        standard_compatible=False, server_side=False,
                    )  # fmt: skip
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            raise
        return AsyncNetworkStream(stream, self._errors)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._stream.extra(TLSAttribute.ssl_object, None)
            case "is_readable":
                # Of a connection that rests: is its end there, so that it is of no more use?
                return self._stream.extra(StreamAttribute.readable, False)
        return None


# -- threads


class SyncNetwork:
    """httpcore's NetworkBackend, on sockets that lead into a tunnel."""

    def __init__(self, open_socket: Callable[[str], socket.socket], errors: Errors) -> None:
        self._open_socket = open_socket
        self._errors = errors

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> SyncNetworkStream:
        with told_as(self._errors.connect, self._errors.connect_timeout):
            sock = self._open_socket(format_address(host, port))
        return SyncNetworkStream(sock, self._errors)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> SyncNetworkStream:
        _no_unix_socket()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SyncNetworkStream:
    """httpcore's NetworkStream. Times are seconds for each call of the socket; None: for ever."""

    def __init__(self, sock: socket.socket, errors: Errors) -> None:
        self._sock = sock
        self._errors = errors

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with told_as(self._errors.read, self._errors.read_timeout):
            self._sock.settimeout(timeout)
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with told_as(self._errors.write, self._errors.write_timeout):
            self._sock.settimeout(timeout)
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> SyncNetworkStream:
        try:
            with told_as(self._errors.connect, self._errors.connect_timeout):
                self._sock.settimeout(timeout)
                sock = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except BaseException:
            self._sock.close()
            raise
        return SyncNetworkStream(sock, self._errors)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
            case "is_readable":
                with selectors.DefaultSelector() as waiting:
                    waiting.register(self._sock, selectors.EVENT_READ)
                    return bool(waiting.select(0))
        return None
