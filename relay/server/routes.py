"""The ways to services: what a stream is spliced to."""

from __future__ import annotations

import math
import time
from typing import Protocol

from relay.core.services import Service
from relay.core.traffic import Traffic
from relay.ssh.server import ServerLeg
from relay.wire.messages import tcpip_fields


class Route(Protocol):
    """One way to one service: over the leg of an agent, or one day over that of another relay."""

    name: str
    """The service's, for people."""
    leg: ServerLeg
    kind: bytes
    """The type of channel that is opened on it."""
    traffic: Traffic
    """Of the streams that went this way."""
    traffics: tuple[Traffic, ...]
    """That, and of whom else it is."""
    refused_at: float
    """When the service refused a stream, in the loop's time, and has taken none since; minus
    infinity: it has not."""

    def fields(self, opener: ServerLeg) -> bytes:
        """What the open says of the service and of where the stream comes from."""

    def full(self, identity: bytes) -> bool:
        """Does it take no more streams, or none of this key? If so, that is a limit hit."""

    def begun(self, identity: bytes) -> None:
        """A stream of this key goes this way."""

    def moved(self, there: int, back: int) -> None:
        """It has carried so many bytes more, to the service and back."""

    def ended(self, identity: bytes) -> None:
        """It is over."""


class AgentRoute:
    """Over the leg of the agent that has published the service. Outlives the service for as long
    as streams are open that went this way."""

    __slots__ = ("leg", "name", "refused_at", "service", "since", "traffic", "traffics")

    kind = b"forwarded-tcpip"

    def __init__(self, service: Service[ServerLeg], *counted: Traffic) -> None:
        """`counted` is what counts its streams as well, beside its own traffic and its leg's."""
        self.service = service
        self.leg = service.holder
        self.name = str(service)
        # When it was published, in Unix time.
        self.since = time.time()
        self.refused_at = -math.inf
        self.traffic = Traffic()
        self.traffics: tuple[Traffic, ...] = (self.traffic, self.leg.traffic, *counted)

    def fields(self, opener: ServerLeg) -> bytes:
        """RFC 4254 §7.2. Where it comes from, as B has seen it: A may say what it likes, and an
        agent's endpoint counts strangers by it."""
        return tcpip_fields(self.service.bind, self.service.port, *opener.origin)

    def full(self, identity: bytes) -> bool:
        return self.leg.full(serving=True) or self.leg.full_for(identity)

    def begun(self, identity: bytes) -> None:
        self.leg.streams_of[identity] += 1
        for traffic in self.traffics:
            traffic.begun()

    def moved(self, there: int, back: int) -> None:
        for traffic in self.traffics:
            traffic.moved(received=back, sent=there)

    def ended(self, identity: bytes) -> None:
        streams_of = self.leg.streams_of
        streams_of[identity] -= 1
        if not streams_of[identity]:
            del streams_of[identity]
        for traffic in self.traffics:
            traffic.ended()
