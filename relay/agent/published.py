"""What the agent has published over one leg: asked for, given up, and where its streams go."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import anyio

from relay.agent.config import EndpointConfig
from relay.agent.dynamic import SocksExit, SocksStream
from relay.agent.session import SessionEndpoint
from relay.core.forward import Forward, format_address
from relay.core.forwards import Desired
from relay.core.grants import Permit
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.services import is_address, is_privileged
from relay.errors import Refused
from relay.events import Events
from relay.events.client import (
    ServiceGivenUp,
    ServiceGranted,
    ServiceStreamClosed,
    StreamOpened,
)
from relay.io.dial import dial_service, dial_unix
from relay.io.endpoint import Endpoint, tell_end
from relay.ssh.client import ClientLeg
from relay.wire.messages import service_down
from relay.wire.numbers import SERVICE_DOWN, VERSION_START, OpenFailure

Dial = Callable[[], Awaitable[socket.socket]]


@dataclass(frozen=True, slots=True, eq=False)
class InProcess:
    """A service that this process answers itself: none is dialled for its streams."""

    bind: str | None
    """As of a `Forward`."""
    port: int
    stream: Callable[[ClientLeg, str, int], ChannelHandler]
    """Answers one, whose origin's host and port it is given. Raises `OpenRefused`."""

    @property
    def name(self) -> str:
        """For a person."""
        return self.bind or "*"

    @property
    def target(self) -> str:
        """For a person."""
        return "this process"


Publishable = Forward | EndpointConfig | InProcess
"""What an agent can publish: a service, or itself."""

Answer = Callable[[str, int], ChannelHandler]
"""Answers a stream, by its origin."""


class Published:
    """The `Maker` of one leg, and its `StreamHandler`."""

    def __init__(
        self,
        leg: ClientLeg,
        endpoint: SessionEndpoint | None,
        permits: tuple[Permit, ...] | None,
        said: set[str],
        events: Events,
    ) -> None:
        """`permits` is PermitRemoteOpen; `said` are the services that have been said to be
        published, over this leg or an earlier one."""
        self._leg = leg
        self._endpoint = endpoint
        self._permits = permits
        self._said = said
        self._events = events
        # By what B says in `forwarded-tcpip`: the address as we asked for it, and the port.
        self._targets: dict[tuple[str, int], Answer] = {}
        leg.stream_handler = self._stream

    # -- as B is asked

    async def ask(self, desired: Desired[Publishable], granted: Callable[[int], None]) -> None:
        """Ask B for the service, and say so. Raises `Refused`, `LegLost`."""
        what = desired.key
        bind, asked = requested(desired)

        def serve(port: int) -> None:
            # Streams for it may come right behind B's answer.
            if isinstance(what, Forward):
                service = service_name(what, port)
                dial = self._dial(what, service)
                self._targets[bind, port] = partial(self._joint, service, what.target, dial)
            elif isinstance(what, InProcess):
                self._targets[bind, port] = partial(what.stream, self._leg)
            granted(port)

        try:
            try:
                port = await self._leg.publish(bind, asked, serve)
            except Refused:
                if asked == what.port:
                    raise
                # What B picked for an earlier leg is somebody else's now: any other will do.
                port = await self._leg.publish(bind, what.port, serve)
        except Refused as error:
            name = what.name if isinstance(what, EndpointConfig) else what.bind
            where = format_address(name or "localhost", what.port)
            why = str(error) or unknown_reason(self._leg, name or "localhost", what.port)
            raise Refused(f"{where}: refused by the server: {why}") from None
        self._say_published(what, bind, port)

    async def cancel(self, desired: Desired[Publishable]) -> None:
        """Give the service up. Raises `LegLost`."""
        what = desired.key
        bind, port = requested(desired)
        if desired.wanted and desired.down and self._leg.to_a_relay:
            age = round(1000 * (anyio.current_time() - desired.down_since))
            self._leg.tell(SERVICE_DOWN, service_down(bind, port, age, desired.down))
        # That B does not know it comes to the same.
        await self._leg.withdraw(bind, port)
        self._targets.pop((bind, port), None)
        service = service_name(what, port)
        self._said.discard(service)
        self._events.emit(ServiceGivenUp(service, target_of(what)))

    def _say_published(self, what: Publishable, bind: str, port: int) -> None:
        """What is news: not that all is again as it was before a leg was lost."""
        service = service_name(what, port)
        is_news = service not in self._said
        if is_news and not isinstance(what, EndpointConfig) and not is_address(bind):
            self._warn_if_ignored(service, bind, port)
        self._said.add(service)
        self._events.emit(ServiceGranted(service, target_of(what), is_news))

    def _warn_if_ignored(self, service: str, bind: str, port: int) -> None:
        if not self._leg.to_a_relay:
            text = "{service}: the server is no relay-server: an sshd knows no names, opens port "
            text += "{port} instead and ignores {name}"
            self._events.note(
                "warning", "name ignored", text, service=service, port=port, name=bind
            )

    # -- as streams come

    def _dial(self, forward: Forward, service: str) -> Dial | SocksExit:
        """How the target of a stream is reached."""
        if forward.dynamic:
            return SocksExit(service, self._permits, self._events)
        if forward.target_path:
            return lambda: dial_unix(forward.target_path)
        return lambda: dial_service(forward.host, forward.hostport)

    def _stream(self, host: str, port: int, origin_host: str, origin_port: int) -> ChannelHandler:
        endpoint = self._endpoint
        if endpoint is not None and (host, port) == (endpoint.config.name, endpoint.config.port):
            return endpoint.stream(self._leg, origin_host, origin_port)
        answer = self._targets.get((host, port))
        if answer is None:
            raise OpenRefused(
                OpenFailure.CONNECT_FAILED, f"{format_address(host, port)} is not published here"
            )
        return answer(origin_host, origin_port)

    def _joint(
        self, service: str, target: str, dial: Dial | SocksExit, origin_host: str, origin_port: int
    ) -> ChannelHandler:
        """A stream and the socket that `dial` comes to."""
        origin = format_address(origin_host, origin_port)
        self._events.emit(StreamOpened(service, origin, target))
        closed = partial(ServiceStreamClosed, service=service, origin=origin, target=target)
        ended = tell_end(self._events, closed)
        if isinstance(dial, SocksExit):
            return SocksStream(self._leg, dial, ended)
        joint = Endpoint(self._leg, ended)
        joint.serve(dial)
        return joint


def requested(desired: Desired[Publishable]) -> tuple[str, int]:
    """The address and port as B knows them; the latter the one that B has picked, if it has."""
    what = desired.key
    return requested_address(what), what.port or desired.port


def service_name(what: Publishable, port: int) -> str:
    """For a person: `gpu1:8000`, `localhost:2200`, `*:80`."""
    given = what.name if isinstance(what, EndpointConfig) else what.bind
    return format_address(given or requested_address(what) or "*", port)


def target_of(what: Publishable) -> str:
    return f"{what.target}," if isinstance(what, EndpointConfig) else what.target


def requested_address(what: Publishable) -> str:
    """What ssh sends for `-R`'s bind address (RFC 4254 §7.1): `localhost` where none is given,
    the empty string for `*`."""
    if isinstance(what, EndpointConfig):
        return what.name
    if what.bind is None:
        return "localhost"
    return "" if what.bind == "*" else what.bind


def unknown_reason(leg: ClientLeg, name: str, port: int) -> str:
    """The answer has no reason (RFC 4254 §7.1), and only a relay-server says it by another way:
    these are all that it may be."""
    version = leg.get_extra_info("server_version", "").removeprefix(VERSION_START)
    reasons = f"{version or 'it'} gives no reasons; the port may be taken there, or "
    if is_privileged(name, port):
        reasons += "be root's alone, as every one below 1024, or "
    return reasons + "its AllowTcpForwarding, its PermitListen or the line of this key forbids it"
