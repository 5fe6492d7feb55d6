"""Where a stream goes: who may open what, and the way to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from relay.core.forward import format_address
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.services import GOODBYE, NOT_PUBLISHED
from relay.events import Events
from relay.events.server import StreamHeld, StreamRefused
from relay.server.drain import Drain
from relay.server.held import HeldOpen, HeldOpens
from relay.server.routes import Route
from relay.server.splices import SplicedStream
from relay.ssh.server import ServerLeg
from relay.wire.numbers import PRIVATE_FAILURES, OpenFailure


class Directory(Protocol):
    """Who knows the ways to services: B's own agents today."""

    def routes(self, host: str, port: int) -> Sequence[Route]:
        """Those to what a `direct-tcpip` for this means, the longest there first. One whose leg is
        not alive is about to be withdrawn."""

    def missed(self, host: str, port: int) -> None:
        """A stream has found that nobody there is alive any more."""

    def down(self, host: str, port: int) -> str:
        """Where there is no way: what its agent has said of that; empty: nothing."""


class Router:
    """Answers opens: by a stream, by a wait, or by a refusal."""

    def __init__(self, directory: Directory, held: HeldOpens, drain: Drain, events: Events) -> None:
        self._directory = directory
        self._held = held
        self._drain = drain
        self._events = events

    def open_stream(self, leg: ServerLeg, host: str, port: int) -> ChannelHandler:
        """A's `direct-tcpip` (RFC 4254 §7.2): a splice to the agent that holds the service. Raises
        `OpenRefused`.

        B never dials anything itself: a relay is no open proxy.
        """
        wanted = format_address(host, port)
        entry = leg.entry
        if entry is None or not entry.grant.may_open(host, port):
            code = OpenFailure.ADMINISTRATIVELY_PROHIBITED
            raise self._refusal(leg, wanted, code, "this key may not open it")
        if self._drain.begun:
            raise self._refusal(leg, wanted, OpenFailure.STOPPING, GOODBYE)
        found = self._directory.routes(host, port)
        routes = [route for route in found if route.leg.alive]
        if not routes:
            if found:
                self._directory.missed(host, port)
            elif reason := self._directory.down(host, port):
                raise self._refusal(leg, wanted, OpenFailure.CONNECT_FAILED, reason)
            return self._hold(leg, host, port, partial(self.open_stream, leg, host, port))
        # Of several that share it, who has the fewest open streams; of these, the longest there.
        route = min(routes, key=_open_streams)
        if leg.full() or route.full(leg.identity):
            raise _too_many(wanted)
        return SplicedStream(leg, route, self._events).ends[0]

    def _hold(
        self, leg: ServerLeg, host: str, port: int, again: Callable[[], ChannelHandler]
    ) -> HeldOpen:
        """For a service that is not published: wait for it, if it was a moment ago. Raises
        `OpenRefused`."""
        wanted = format_address(host, port)
        if not self._held.takes(leg, host, port):
            raise self._refusal(leg, wanted, OpenFailure.NOT_PUBLISHED, NOT_PUBLISHED)
        if leg.full():
            raise _too_many(wanted)
        self._events.emit(StreamHeld(wanted, leg.name))
        return self._held.hold(leg, host, port, again)

    def _refusal(self, leg: ServerLeg, wanted: str, code: OpenFailure, reason: str) -> OpenRefused:
        self._events.emit(StreamRefused(wanted, leg.name, code, reason, inner=False))
        if code >= PRIVATE_FAILURES and not leg.is_ours:
            code = OpenFailure.CONNECT_FAILED
        return OpenRefused(code, f"{wanted}: {reason}")


def _open_streams(route: Route) -> int:
    return route.traffic.open


def _too_many(wanted: str) -> OpenRefused:
    text = f"{wanted}: there are too many streams already"
    return OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
