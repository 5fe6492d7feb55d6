"""B's numbers, for whoever asks: status, metrics, a page.

Nothing here is pushed, and the data path does no more for it. What happens once in a while is
counted as it happens (`Counters`, a sink of events). Streams and bytes are counted in the `Traffic`
of each leg and each route when a stream begins and ends; what open streams have moved is added when
somebody reads (reading.py).

    reading = await relay.reading()       # from here on the bytes are those of now
    for leg in relay.legs: leg.name, leg.since, leg.traffic, leg.out.waiting, leg.mux.rekey.count
    for route in relay.services: route.name, route.since, route.leg
    traffic = route.traffic               # or leg.traffic, or of all: relay.services.traffic
    traffic.received, traffic.sent, traffic.open, traffic.opened, traffic.stalls
    reading.waiting[traffic]; relay.waiting; await relay.legs.rekeys(); relay.counters.limits
    await watch(histogram.observe)        # relay/observe/loop_delay.py, in a task of whose it is
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

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
