"""B's numbers, for whoever asks: status, metrics, a page.

Nothing here is pushed, and the data path does no more for it. What happens once in a while is
counted as it happens (`Counters`, a sink of events). Streams and bytes are counted in the `Traffic`
of each leg and each route when a stream begins and ends; what open streams have moved is asked of
them when somebody reads (`Reading`).

    for leg in relay.legs: leg.name, leg.since, leg.traffic, leg.out.waiting, leg.mux.rekey.count
    for route in relay.services: route.name, route.since, route.leg, route.traffic
    reading = relay.reading(); reading.streams; received, sent = reading.moved(route.traffic)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from relay.core.traffic import Traffic
from relay.events import Event
from relay.events.server import (
    KeyRefused,
    LegUp,
    LimitHit,
    LoginFailed,
    RequestRefused,
    RightsLost,
    ServicePublished,
    ServiceRefused,
    SignatureRefused,
    StreamRefused,
)
from relay.server.splices import SplicedStream, SpliceEnd
from relay.ssh.listener import Visitor
from relay.ssh.server import ServerLeg
from relay.wire.numbers import OpenFailure


class Counters:
    """How often what happened since B started. The names are few, whatever strangers send."""

    def __init__(self) -> None:
        self.logins = 0
        # Connections that ended without one.
        self.logins_failed = 0
        # Services that were published, again or anew.
        self.published = 0
        # By what was refused, and why.
        self.refusals: Counter[tuple[str, str]] = Counter()
        # By the limit's name.
        self.limits: Counter[str] = Counter()
        self._counts: Mapping[type[Event], Callable[[Any], None]] = {
            LegUp: self._leg_up,
            LoginFailed: self._login_failed,
            ServicePublished: self._published,
            LimitHit: self._limit_hit,
            StreamRefused: self._stream_refused,
            KeyRefused: self._refused("login", "KEY"),
            SignatureRefused: self._refused("login", "SIGNATURE"),
            RightsLost: self._refused("login", "RIGHTS_LOST"),
            ServiceRefused: self._service_refused,
            RequestRefused: self._refused("request", "NOT_SERVED"),
        }

    def __call__(self, event: Event) -> None:
        """Count it, if it is one of these."""
        count = self._counts.get(type(event))
        if count is not None:
            count(event)

    def _leg_up(self, event: LegUp) -> None:
        self.logins += 1

    def _login_failed(self, event: LoginFailed) -> None:
        self.logins_failed += 1

    def _published(self, event: ServicePublished) -> None:
        self.published += 1

    def _limit_hit(self, event: LimitHit) -> None:
        self.limits[event.limit] += 1

    def _stream_refused(self, event: StreamRefused) -> None:
        self.refusals["stream", OpenFailure(event.code).name] += 1

    def _service_refused(self, event: ServiceRefused) -> None:
        self.refusals["service", event.cause] += 1

    def _refused(self, what: str, why: str) -> Callable[[Event], None]:
        def count(event: Event) -> None:
            self.refusals[what, why] += 1

        return count


class Reading:
    """The streams that are open now, and what they have moved until now."""

    def __init__(self, legs: Iterable[ServerLeg]) -> None:
        """One walk over the channels of these legs."""
        channels = [one for leg in legs for one in leg.mux.channels.values()]
        ends = (one for one in channels if isinstance(one, SpliceEnd))
        # Each once: both its ends are there, or one that has outlived the other's leg.
        self.streams: tuple[SplicedStream, ...] = tuple(dict.fromkeys(end.stream for end in ends))
        # Connections to the open ports of services.
        self.visitors = tuple(one for one in channels if isinstance(one, Visitor) and one.traffics)
        self._under_way: dict[Traffic, Traffic] = {}
        for stream in self.streams:
            there, back = stream.splice.bytes_from
            self._add(stream.ends[0].leg.traffic, there, back)
            for traffic in stream.route.traffics:
                self._add(traffic, back, there)
        for visitor in self.visitors:
            for traffic in visitor.traffics:
                self._add(traffic, visitor.received_bytes, visitor.sent_bytes)

    def _add(self, traffic: Traffic, received: int, sent: int) -> None:
        under_way = self._under_way.get(traffic)
        if under_way is None:
            under_way = self._under_way[traffic] = Traffic()
        under_way.moved(received, sent)

    def moved(self, traffic: Traffic) -> tuple[int, int]:
        """Bytes received and sent, those of open streams among them."""
        under_way = self._under_way.get(traffic)
        if under_way is None:
            return traffic.received, traffic.sent
        return traffic.received + under_way.received, traffic.sent + under_way.sent
