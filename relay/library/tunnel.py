"""`relay.connect` and what it gives: the API, for asyncio and trio alike."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import Listener as AnyioListener
from anyio.abc import TaskGroup

from relay.agent.published import Publishable, service_name
from relay.core.forward import Forward
from relay.core.forwards import Desired, Far
from relay.core.services import SHARE_MARK, is_address
from relay.errors import UsageError
from relay.events import Event
from relay.library import names
from relay.library.config import Path, link_config
from relay.library.feed import Feed
from relay.library.host import Host, current_host
from relay.library.incoming import Incoming
from relay.library.link import Link
from relay.library.stream import Stream
from relay.settings.connect import DEFAULT_WAIT

HostKeys = Literal["yes", "accept-new", "no"]

NO_OPTIONS: Final[Mapping[str, str]] = {}


@asynccontextmanager
async def connect(
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
) -> AsyncIterator[Tunnel]:
    """A tunnel to a relay-server (or an sshd), connected, and kept so until the block ends.

        async with relay.connect("user@b", identity="client_key") as tunnel:
            stream = await tunnel.open("gpu1:8000")

    It works on asyncio (uvloop too), where it runs in the caller's own loop, and on trio, where it
    runs in a thread that all tunnels share. What is not given here is taken from ssh_config(5), as
    relay-connect and ssh do; files are read when the block is entered.

    Args:
        destination: `[user@]host`, or `ssh://[user@]host[:port]`, where relay-server runs.
        identity: the private key files to log in with (`-i`); `()`: those that ssh would try.
        config: the file of ssh_config(5) to read (`-F`); None: ~/.ssh/config and the system's;
            `"none"`: none.
        port: of the server (`-p`).
        via: jump hosts on the way (`-J`), the nearest first, which cannot read what passes: with a
            relay-server as the last of them, `destination` is the machine that serves, and the
            tunnel is encrypted end to end. `identity` and `options` are for `destination` alone, as
            with ssh; what jump hosts need stands in the file.
        wait: seconds that a call waits while there is no connection, and behind a new one for a
            service that is not published again yet; and so long the first connection is tried.
        keep_trying: go on, once connected, after a refusal that only a person can undo (a key, a
            host key) as well, every minute or two. Else the tunnel ends with it: each call raises
            it.
        known_hosts: the files of known host keys (UserKnownHostsFile); `()`: ~/.ssh/known_hosts.
        host_keys: what is done about a host key that is not known (StrictHostKeyChecking): `"yes"`
            refuses it, `"accept-new"` takes it and remembers it. None: as ssh_config says, where
            `ask` is as `yes`. One that has changed is always refused.
        options: keywords of ssh_config(5) and their values (`-o`), which win over the file.

    Raises:
        UsageError: an argument, or a line of a file, is wrong.
        FileError: a file cannot be read, or others could read a private key.
        LegLost: the server was not reached within `wait`.
        HostKeyRefused: the server's host key is unknown, has changed or is revoked.
        Refused: the server takes none of the keys.
        PeerError: the base of the three last.
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
    async with current_host() as host:
        link: Link[Any] = Link(configured, host.joint)
        await host.call(link.start)
        tunnel = Tunnel(link, host)
        try:
            yield tunnel
        finally:
            tunnel._closed = True
            with anyio.CancelScope(shield=True):
                await host.call(link.stop)


class Tunnel:
    """A connection to a relay-server that is kept up: what is opened and published goes over it.

    It is made by `relay.connect`. While the connection is lost, calls wait for it (`wait`), ports
    stay open, and what is published is published again when it is back. Streams break with it.
    """

    def __init__(self, link: Link[Any], host: Host[Any]) -> None:
        self._link = link
        self._host = host
        self._closed = False

    @property
    def connected(self) -> bool:
        """Is there a connection at this moment?"""
        return not self._closed and self._link.leg is not None

    async def open(self, service: str) -> Stream:
        """A stream to a service.

        Args:
            service: `name:port` of a named service, `host:port` as the other side of the tunnel
                understands it, or the path of a unix socket there (where that is an sshd).

        Raises:
            NotPublished: nobody publishes it.
            Refused: this key may not open it.
            ServiceUnreachable: who publishes it cannot connect to it.
            LegLost: there was no connection within `wait`, or no answer.
            UsageError: that is no service; or the tunnel is closed.
        """
        target = names.target(service)
        self._check_open()
        raw = await self._host.call(self._link.open, service, target)
        return self._host.stream(raw)

    @asynccontextmanager
    async def forward(
        self, service: str, listen: str | int | os.PathLike[str] = "127.0.0.1:0"
    ) -> AsyncIterator[PortForward]:
        """Listen on this machine, as `relay-connect -L` does: each connection is a stream to the
        service.

        Args:
            service: as of `open`.
            listen: `host:port` or a port (of loopback), 0: one is picked; or the path of a unix
                socket.

        Raises:
            AddressError: it cannot be listened there.
            UsageError: these are no service or no address; or the tunnel is closed.
        """
        async with self._listening(names.listening(listen, names.target(service))) as opened:
            yield opened

    @asynccontextmanager
    async def socks(
        self, listen: str | int | os.PathLike[str] = "127.0.0.1:0"
    ) -> AsyncIterator[PortForward]:
        """Listen on this machine for clients that speak SOCKS and name the service, as
        `relay-connect -D` does. Arguments and errors are those of `forward`."""
        async with self._listening(names.listening(listen, None)) as opened:
            yield opened

    @asynccontextmanager
    async def _listening(self, forward: Forward) -> AsyncIterator[PortForward]:
        self._check_open()
        opened, address = await self._host.call(self._link.forward, forward)
        try:
            yield PortForward(address)
        finally:
            self._soon(self._link.unforward, opened)
        if not self._closed:
            await self._host.call(self._link.done)

    @asynccontextmanager
    async def publish(
        self, name: str, to: str | int | os.PathLike[str], *, share: bool = False
    ) -> AsyncIterator[Service]:
        """Publish a service of this machine's network, as `relay-agent -R` does, until the block
        ends. Over a connection that comes later it is published again.

        Args:
            name: `name:port` of a named service; or `port`, `localhost:port`, `*:port` for a port
                of the server's, 0: one is picked.
            to: `host:port`, a port of this machine's, or the path of a unix socket.
            share: together with others who share it (`relay-agent --share`): the server deals the
                streams out.

        Raises:
            Refused: it is held by somebody else, or this key may not publish it.
            LegLost: there was no connection within `wait`, or no answer.
            AddressError: this tunnel publishes it already.
            UsageError: these are no service or no target; or the tunnel is closed.
        """
        forward = publishing(name, to, share=share)
        self._check_open()
        desired = await self._host.call(self._link.publish, forward)
        async with self._published(desired) as service:
            yield service

    @asynccontextmanager
    async def listen(self, name: str, *, share: bool = False) -> AsyncIterator[Listener]:
        """Publish a service that this process answers itself: no port opens here. Arguments and
        errors are those of `publish`."""
        bind, port = names.published(name)
        self._check_open()
        bind = marked(bind, share)
        incoming, desired = await self._host.call(self._link.listen, bind, port)
        async with self._published(desired) as service:
            listener = Listener(self, service, incoming)
            try:
                yield listener
            finally:
                listener._end()

    @asynccontextmanager
    async def _published(self, desired: Desired[Publishable]) -> AsyncIterator[Service]:
        try:
            yield Service(desired)
        finally:
            self._soon(self._link.withdraw, desired)
        if not self._closed:
            await self._host.call(self._link.withdrawn, desired)

    def events(self) -> EventFeed:
        """What happens from now on, as it happens: `async for event in tunnel.events()`. It ends
        with the tunnel. What is not read within a thousand events is lost, the oldest first."""
        self._check_open()
        return EventFeed(self)

    def retry(self) -> None:
        """Try now what waits for its next try: a connection that was lost, a service that was
        refused."""
        self._soon(self._link.retry)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the tunnel is closed")

    def _soon(self, work: Callable[..., object], *args: Any) -> None:
        """Behind the tunnel's end there is nothing to do any more: it has ended all that it had."""
        if not self._closed:
            self._host.soon(work, *args)


def publishing(name: str, to: str | int | os.PathLike[str], *, share: bool) -> Forward:
    """What `publish` publishes. Raises UsageError."""
    bind, port = names.published(name)
    where = os.fspath(to) if isinstance(to, os.PathLike) else str(to)
    at = names.target(f"localhost:{where}" if where.isdigit() else where)
    return Forward(marked(bind, share), port, at.host, at.hostport, "", at.target_path)


def marked(bind: str | None, share: bool) -> str | None:
    if not share:
        return bind
    if bind is None or is_address(bind):
        raise UsageError("only a service with a name is shared")
    return SHARE_MARK + bind


class PortForward:
    """A port or a unix socket of this machine that is open."""

    def __init__(self, address: str) -> None:
        self.address: Final = address
        """`host:port`, or the path."""


class Service:
    """A service that is published."""

    def __init__(self, desired: Desired[Publishable]) -> None:
        self._desired = desired

    @property
    def address(self) -> str:
        """`name:port`, or `host:port` of the server's, with the port that it has picked."""
        what = self._desired.key
        return service_name(what, what.port or self._desired.port).removeprefix(SHARE_MARK)

    @property
    def published(self) -> bool:
        """Is it published at this moment? It is not while the connection is lost, nor while
        somebody else has it."""
        return self._desired.far is Far.GRANTED


class Listener(AnyioListener[Stream]):
    """A service that this process answers: where its streams come from."""

    def __init__(self, tunnel: Tunnel, service: Service, incoming: Incoming[Any]) -> None:
        self._tunnel = tunnel
        self._service = service
        self._incoming = incoming
        self._closed = False

    @property
    def service(self) -> Service:
        """As it is published."""
        return self._service

    @property
    def address(self) -> str:
        """As of `Service`."""
        return self._service.address

    async def accept(self) -> Stream:
        """The next stream. Who has asked for it waits until then. Raises `ClosedResourceError` when
        the listener is closed."""
        while True:
            if self._closed or self._tunnel._closed:
                raise ClosedResourceError
            host = self._tunnel._host
            found = await host.call(self._incoming.accept)
            if found is not None:
                return host.stream(*found)
            self._closed = True

    async def serve(
        self, handler: Callable[[Stream], Awaitable[object]], task_group: TaskGroup | None = None
    ) -> None:
        """Accept streams, each handled by a task that runs `handler`, until the listener is closed
        or this is cancelled.

        A stream is closed when its handler is done; where that has raised an exception, as broken.
        The exception is raised here, but for `EndOfStream` and `BrokenResourceError`, which are the
        other side's doing and no other stream's concern.

        Args:
            handler: is given one stream.
            task_group: where the handlers run; None: in one that ends with this call.
        """
        if task_group is None:
            async with anyio.create_task_group() as tasks:
                await self._serve(handler, tasks)
        else:
            await self._serve(handler, task_group)

    async def _serve(
        self, handler: Callable[[Stream], Awaitable[object]], tasks: TaskGroup
    ) -> None:
        while True:
            try:
                stream = await self.accept()
            except ClosedResourceError:
                return
            tasks.start_soon(_handle, handler, stream)

    async def aclose(self) -> None:
        """Accept no more, and publish the service no more; streams that are open go on."""
        self._end()
        await anyio.lowlevel.checkpoint()

    def _end(self) -> None:
        self._closed = True
        self._tunnel._soon(self._tunnel._link.unlisten, self._incoming)
        self._tunnel._soon(self._tunnel._link.withdraw, self._service._desired)


async def _handle(handler: Callable[[Stream], Awaitable[object]], stream: Stream) -> None:
    try:
        async with stream:
            await handler(stream)
    except (EndOfStream, BrokenResourceError):
        pass


class EventFeed(AsyncIterator[Event]):
    """The events of a tunnel, one after the other."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._feed = Feed()
        tunnel._soon(tunnel._link.watch, self._feed)

    def __aiter__(self) -> EventFeed:
        return self

    async def __anext__(self) -> Event:
        if not self._tunnel._closed:
            event = await self._tunnel._host.call(self._feed.next)
            if event is not None:
                return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """No more of them."""
        self._tunnel._soon(self._tunnel._link.unwatch, self._feed)
        await anyio.lowlevel.checkpoint()
