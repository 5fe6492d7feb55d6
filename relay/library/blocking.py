"""The API for programs that block: the same names, over the loop of the thread that all share."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream

from relay.agent.published import Publishable
from relay.core.forward import Forward
from relay.core.forwards import Desired
from relay.errors import UsageError
from relay.events import Event
from relay.io.pair import tcp_pair
from relay.library import names, thread
from relay.library.config import Path, link_config
from relay.library.feed import Feed
from relay.library.incoming import Incoming
from relay.library.joint import PairJoint, RawPair
from relay.library.link import Link
from relay.library.stream import AT_ONCE
from relay.library.tunnel import NO_OPTIONS, HostKeys, PortForward, Service, marked, publishing
from relay.settings.connect import DEFAULT_WAIT

T = TypeVar("T")

CLOSED = "the tunnel is closed"


@contextmanager
def connect(
    destination: str,
    *,
    identity: Path | Sequence[Path] = (),
    config: Path | None = None,
    port: int | None = None,
    via: str | Sequence[str] = (),
    wait: float = DEFAULT_WAIT,
    keep_trying: bool = False,
    known_hosts: Path | Sequence[Path] = (),
    host_keys: HostKeys | None = None,
    options: Mapping[str, str] = NO_OPTIONS,
) -> Iterator[Tunnel]:
    """A tunnel for a program that blocks; arguments and errors are those of `relay.connect`.

        with relay.sync.connect("user@b", identity="client_key") as tunnel:
            sock = tunnel.open_socket("gpu1:8000")

    Any thread may use it.
    """
    configured = link_config(
        destination,
        identity=identity,
        config=config,
        port=port,
        via=via,
        wait=wait,
        keep_trying=keep_trying,
        known_hosts=known_hosts,
        host_keys=host_keys,
        options=options,
    )
    loop = thread.borrow()
    try:
        link: Link[RawPair] = Link(configured, PairJoint())
        call(loop, link.start)
        tunnel = Tunnel(link, loop)
        try:
            yield tunnel
        finally:
            tunnel._closed = True
            call(loop, link.stop)
    finally:
        thread.give_back()


def call(loop: thread.LoopThread, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run `work` in the loop and wait for it. Where the wait is interrupted (Ctrl-C), so is the
    work, and this returns when that is over."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    cancel = loop.submit(work, args, done.put)
    try:
        task = done.get()
    except BaseException:
        cancel()
        done.get()
        raise
    if task.cancelled():
        raise UsageError(CLOSED)
    result: T = task.result()
    return result


class Tunnel:
    """A connection to a relay-server that is kept up; as `relay.Tunnel`, but that its calls
    block."""

    def __init__(self, link: Link[RawPair], loop: thread.LoopThread) -> None:
        self._link = link
        self._loop = loop
        self._closed = False

    @property
    def connected(self) -> bool:
        """Is there a connection at this moment?"""
        return not self._closed and self._link.leg is not None

    def open(self, service: str) -> Stream:
        """A stream to a service; as of `relay.Tunnel.open`."""
        return Stream(self._call(self._link.open, service, names.target(service)))

    def open_socket(self, service: str) -> socket.socket:
        """A stream to a service as a socket, for whatever wants one: of TCP, so that one that broke
        is reset, and is not taken for one that has ended. It is the caller's to close. Arguments
        and errors are those of `open`; OSError when this machine has no socket left."""
        target = names.target(service)
        raw: RawPair = self._call(self._link.open, service, target, PairJoint(tcp_pair))
        return raw.sock

    @contextmanager
    def forward(
        self, service: str, listen: str | int | os.PathLike[str] = "127.0.0.1:0"
    ) -> Iterator[PortForward]:
        """Listen on this machine; as of `relay.Tunnel.forward`."""
        with self._listening(names.listening(listen, names.target(service))) as opened:
            yield opened

    @contextmanager
    def socks(self, listen: str | int | os.PathLike[str] = "127.0.0.1:0") -> Iterator[PortForward]:
        """Listen for SOCKS clients; as of `relay.Tunnel.socks`."""
        with self._listening(names.listening(listen, None)) as opened:
            yield opened

    @contextmanager
    def _listening(self, forward: Forward) -> Iterator[PortForward]:
        opened, address = self._call(self._link.forward, forward)
        try:
            yield PortForward(address)
        finally:
            if not self._closed:
                self._soon(self._link.unforward, opened)
                self._call(self._link.done)

    @contextmanager
    def publish(
        self, name: str, to: str | int | os.PathLike[str], *, share: bool = False
    ) -> Iterator[Service]:
        """Publish a service of this machine's network; as of `relay.Tunnel.publish`."""
        desired = self._call(self._link.publish, publishing(name, to, share=share))
        with self._published(desired) as service:
            yield service

    @contextmanager
    def listen(self, name: str, *, share: bool = False) -> Iterator[Listener]:
        """Publish a service that this process answers; as of `relay.Tunnel.listen`."""
        bind, port = names.published(name)
        incoming, desired = self._call(self._link.listen, marked(bind, share), port)
        with self._published(desired) as service:
            listener = Listener(self, service, incoming)
            try:
                yield listener
            finally:
                listener.close()

    @contextmanager
    def _published(self, desired: Desired[Publishable]) -> Iterator[Service]:
        try:
            yield Service(desired)
        finally:
            self._soon(self._link.withdraw, desired)
        if not self._closed:
            self._call(self._link.withdrawn, desired)

    def events(self) -> Iterator[Event]:
        """What happens from now on; as of `relay.Tunnel.events`."""
        feed = Feed()
        self._call(self._link.done)
        self._soon(self._link.watch, feed)
        return self._events(feed)

    def _events(self, feed: Feed) -> Iterator[Event]:
        try:
            while not self._closed and (event := self._call(feed.next)) is not None:
                yield event
        finally:
            self._soon(self._link.unwatch, feed)

    def retry(self) -> None:
        """Try now what waits for its next try."""
        self._soon(self._link.retry)

    def _call(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        if self._closed:
            raise UsageError(CLOSED)
        return call(self._loop, work, *args)

    def _soon(self, work: Callable[..., object], *args: Any) -> None:
        if not self._closed:
            self._loop.soon(work, *args)


class Stream:
    """A stream of bytes; as `relay.Stream`, with the same exceptions, but that its calls block. One
    thread may send while another receives."""

    def __init__(self, raw: RawPair, origin: tuple[str, int] | None = None) -> None:
        self._socket = raw.sock
        self._pair = raw.stream
        self.origin = origin
        """Where a stream that was accepted comes from (host and port), as the server says."""
        self._said_all = False

    @property
    def timeout(self) -> float | None:
        """Seconds after which a call raises `TimeoutError`; None: it waits for ever. Of what a
        `send` was given a part may have been sent then."""
        return self._socket.gettimeout()

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def receive(self, max_bytes: int = AT_ONCE) -> bytes:
        """What has come, one byte at least and `max_bytes` at most. Raises `EndOfStream`,
        `BrokenResourceError`, `ClosedResourceError`."""
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self._explained():
            data = self._socket.recv(max_bytes)
        if not data:
            if self._socket.fileno() == -1:
                raise ClosedResourceError
            if self._pair.broken:
                raise BrokenResourceError(self._pair.broken)
            raise EndOfStream
        return data

    def send(self, item: bytes) -> None:
        """Send all of `item`. Raises `BrokenResourceError`, `ClosedResourceError`."""
        if self._said_all:
            raise ClosedResourceError
        with self._explained(), memoryview(item) as data:
            sent = 0
            while sent < len(data):
                sent += self._socket.send(data[sent:])
                self._pair.cut = sent < len(data)

    def send_eof(self) -> None:
        """Say that no more is sent; what the other side sends still comes."""
        with self._explained():
            if not self._said_all:
                self._said_all = True
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it; as of `relay.Stream.aclose`. A call of another thread's ends."""
        if self._socket.fileno() != -1:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The other side was first.
            self._socket.close()

    def __iter__(self) -> Iterator[bytes]:
        """What comes, up to its end."""
        try:
            while True:
                yield self.receive()
        except EndOfStream:
            pass

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._pair.cut = True  # It is broken off.
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise
        except OSError as error:
            if self._socket.fileno() == -1:
                raise ClosedResourceError from None
            raise BrokenResourceError(self._pair.broken or str(error)) from error


class Listener:
    """A service that this process answers; as `relay.Listener`, but that its calls block."""

    def __init__(self, tunnel: Tunnel, service: Service, incoming: Incoming[RawPair]) -> None:
        self._tunnel = tunnel
        self.service = service
        """As it is published."""
        self._incoming = incoming

    @property
    def address(self) -> str:
        """As of `Service`."""
        return self.service.address

    def accept(self) -> Stream:
        """The next stream. Raises `ClosedResourceError` when the listener is closed."""
        found = None if self._tunnel._closed else self._tunnel._call(self._incoming.accept)
        if found is None:
            raise ClosedResourceError
        return Stream(*found)

    def serve(self, handler: Callable[[Stream], object]) -> None:
        """Accept streams, each handled in a thread of its own that runs `handler`, until the
        listener is closed; returns when the last of them is done. A stream is closed when its
        handler is done; where that raises an exception, as broken, and the exception is the
        thread's (`threading.excepthook`)."""
        threads: list[threading.Thread] = []
        try:
            while True:
                stream = self.accept()
                threads = [one for one in threads if one.is_alive()]
                threads.append(threading.Thread(target=_handle, args=(handler, stream)))
                threads[-1].start()
        except ClosedResourceError:
            pass
        finally:
            for one in threads:
                one.join()

    def close(self) -> None:
        """Accept no more, and publish the service no more; streams that are open go on."""
        self._tunnel._soon(self._tunnel._link.unlisten, self._incoming)
        self._tunnel._soon(self._tunnel._link.withdraw, self.service._desired)


def _handle(handler: Callable[[Stream], object], stream: Stream) -> None:
    try:
        with stream:
            handler(stream)
    except (EndOfStream, BrokenResourceError):
        pass
