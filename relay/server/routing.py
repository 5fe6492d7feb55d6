"""Where a stream goes: who may open what, and the way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol

from relay.core.forward import format_address
from relay.core.grants import Grant
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.limits import ANSWER_TIMEOUT
from relay.core.services import GOODBYE, NOT_PUBLISHED, ServiceKey, key_address
from relay.events import Events
from relay.events.server import StreamHeld, StreamRefused
from relay.server.drain import Drain
from relay.server.held import HeldOpen, HeldOpens
from relay.server.inside import Inside
from relay.server.routes import Route
from relay.server.splices import SplicedStream
from relay.ssh.server import ServerLeg
from relay.wire.numbers import PRIVATE_FAILURES, OpenFailure

SEARCHES_PER_SECOND: Final = 20
"""For names that may have been meant: each takes up to 1.6 ms, and whoever is refused opens may ask
for more of them without end. People who mistype are rarer."""

PASSED_OVER: Final = 5.0
"""Seconds for which an agent whose service has refused a stream is asked after all others: a
service that is started anew is back by then, and one that stays away costs one open more in so
long. (Who checks its service, by --check, withdraws it.)"""

MOST_TRIED: Final = 8
"""Agents that are asked for one stream: who opens streams must not make B open many times as
many."""

NOT_YOURS: Final = "this key may not open it"


class Directory(Protocol):
    """Who knows the ways to services: B's own agents today."""

    def routes(self, host: str, port: int) -> Sequence[Route]:
        """Those to what a `direct-tcpip` for this means, the longest there first. One whose leg is
        not alive is about to be withdrawn."""

    def missed(self, host: str, port: int) -> None:
        """A stream has found that nobody there is alive any more."""

    def down(self, host: str, port: int) -> str:
        """Where there is no way: what its agent has said of that; empty: nothing."""

    def nearly(self, host: str, port: int) -> Iterator[ServiceKey]:
        """What is published under nearly the same name."""


class Outlook(NamedTuple):
    """What would become of an open."""

    code: OpenFailure
    reason: str
    near: str = ""
    """A service of nearly this name that the same key may open; empty: there is none."""

    def __str__(self) -> str:
        return self.reason + (f" (did you mean {self.near}?)" if self.near else "")


@dataclass(slots=True)
class Tried:
    """How an open has been tried so far."""

    opener: ServerLeg
    host: str
    port: int
    until: float
    """After this no other agent is asked, in the loop's time: with the last one's own time to
    answer, an opener waits for twice `ANSWER_TIMEOUT` at most."""
    legs: list[ServerLeg] = field(default_factory=list)
    """The agents that were asked. (Not their routes: who refuses, publishes again and refuses would
    be asked without end.)"""


class Router:
    """Answers opens: by a stream, by a wait, or by a refusal."""

    def __init__(
        self, directory: Directory, held: HeldOpens, drain: Drain, events: Events, inside: Inside
    ) -> None:
        self._directory = directory
        self._held = held
        self._drain = drain
        self._events = events
        self._inside = inside
        # The second in which names were looked for last, and how often.
        self._searches = (0, 0)

    def open_stream(self, leg: ServerLeg, host: str, port: int) -> ChannelHandler:
        """A's `direct-tcpip` (RFC 4254 §7.2): a splice to the agent that holds the service. Raises
        `OpenRefused`.

        B never dials anything itself: a relay is no open proxy.
        """
        wanted = format_address(host, port)
        routes, refusal = self._look(leg, host, port)
        if refusal is not None:
            raise self._refusal(leg, wanted, refusal)
        if (serve := self._inside.find(host, port)) is not None:
            if leg.full():
                raise _too_many(wanted)
            return serve(leg)
        if not routes:
            return self._hold(leg, host, port, partial(self.open_stream, leg, host, port))
        route = min(routes, key=partial(_worth, leg.loop.time()))
        if leg.full() or route.full(leg.identity):
            raise _too_many(wanted)
        first = Tried(leg, host, port, leg.loop.time() + ANSWER_TIMEOUT)
        return self._splice(first, route).ends[0]

    def _splice(self, tried: Tried, route: Route) -> SplicedStream:
        tried.legs.append(route.leg)
        return SplicedStream(tried.opener, route, self._events, partial(self._elsewhere, tried))

    def _elsewhere(self, tried: Tried, stream: SplicedStream) -> SplicedStream | None:
        """An agent has not served a stream of which nothing has passed yet. Another that shares the
        service, if there is one: all is judged anew."""
        leg, now = tried.opener, tried.opener.loop.time()
        if not leg.alive or now >= tried.until or len(tried.legs) >= MOST_TRIED:
            return None
        found, _ = self._look(leg, tried.host, tried.port)
        routes = [
            route for route in found
            if route.leg not in tried.legs and not route.full(leg.identity)
        ]  # fmt: skip
        if not routes:
            return None
        return self._splice(tried, min(routes, key=partial(_worth, now)))

    def outlook(self, leg: ServerLeg, host: str, port: int) -> Outlook | None:
        """What would become of that now; None: a stream. It tells no key more than an open does."""
        routes, refusal = self._look(leg, host, port)
        if refusal is None and not routes and self._inside.find(host, port) is None:
            return Outlook(OpenFailure.NOT_PUBLISHED, NOT_PUBLISHED)
        return refusal

    def _look(self, leg: ServerLeg, host: str, port: int) -> tuple[list[Route], Outlook | None]:
        """The ways that there are, and what stands against them; neither: it is inside, or wait
        for the service, which was there a moment ago."""
        is_inside = self._inside.find(host, port) is not None
        if leg.entry is None or not _may_open(leg.entry.grant, host, port, inside=is_inside):
            near = self._near(leg, host, port)
            return [], Outlook(OpenFailure.ADMINISTRATIVELY_PROHIBITED, NOT_YOURS, near)
        if self._drain.begun:
            return [], Outlook(OpenFailure.STOPPING, GOODBYE)
        if is_inside:
            return [], None
        found = self._directory.routes(host, port)
        routes = [route for route in found if route.leg.alive]
        if routes:
            return routes, None
        if found:
            self._directory.missed(host, port)
        elif reason := self._directory.down(host, port):
            return [], Outlook(OpenFailure.CONNECT_FAILED, reason)
        if self._held.takes(leg, host, port):
            return [], None
        # Whose agent was there before B itself began, B cannot know.
        code = OpenFailure.NOT_PUBLISHED if self._held.is_new else OpenFailure.UNKNOWN_SERVICE
        return [], Outlook(code, NOT_PUBLISHED, self._near(leg, host, port))

    def _near(self, leg: ServerLeg, host: str, port: int) -> str:
        """What may have been meant, if this key may open it."""
        second, count = int(leg.loop.time()), self._searches[1]
        self._searches = (second, count + 1 if second == self._searches[0] else 1)
        if leg.entry is None or self._searches[1] > SEARCHES_PER_SECOND:
            return ""
        may_open = leg.entry.grant.may_open
        for name, number in self._directory.nearly(host, port):
            if may_open(name or "localhost", number):
                return key_address((name, number))
        return ""

    def _hold(
        self, leg: ServerLeg, host: str, port: int, again: Callable[[], ChannelHandler]
    ) -> HeldOpen:
        """For a service that is not published: wait for it. Raises `OpenRefused`."""
        wanted = format_address(host, port)
        if leg.full():
            raise _too_many(wanted)
        self._events.emit(StreamHeld(wanted, leg.name))
        return self._held.hold(leg, host, port, again)

    def _refusal(self, leg: ServerLeg, wanted: str, refusal: Outlook) -> OpenRefused:
        code, reason = refusal.code, str(refusal)
        self._events.emit(StreamRefused(wanted, leg.name, code, reason, inner=False))
        if code >= PRIVATE_FAILURES and not leg.is_ours:
            code = OpenFailure.CONNECT_FAILED
        return OpenRefused(code, f"{wanted}: {reason}")


def _worth(now: float, route: Route) -> tuple[bool, int]:
    """The least is asked first. Of several that share a service, who has not just refused, as who
    refuses has the fewest streams; of these, who has the fewest; of these, the longest there."""
    return now - route.refused_at < PASSED_OVER, route.traffic.open


def _may_open(grant: Grant, host: str, port: int, *, inside: bool) -> bool:
    return grant.may_open_inside(host, port) if inside else grant.may_open(host, port)


def _too_many(wanted: str) -> OpenRefused:
    text = f"{wanted}: there are too many streams already"
    return OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
