"""What happens at a server: at B, and at an agent that is an endpoint of its own."""

from __future__ import annotations

from dataclasses import dataclass

from relay.events import Event, LegName, StreamClosed

# -- legs


@dataclass(frozen=True, slots=True)
class LegUp(Event):
    """A client has logged in."""

    leg: LegName
    source: str
    """What those are counted by who do not log in (PerSourceNetBlockSize)."""
    user: str
    client: str
    """The client's version line."""
    cipher: str
    inner: bool
    """The leg is a session end to end, within a stream."""


@dataclass(frozen=True, slots=True)
class LegDown(Event):
    """A leg whose client had logged in is gone."""

    leg: LegName
    reason: str
    """Empty: its client closed it."""
    inner: bool


@dataclass(frozen=True, slots=True)
class SessionHeld(Event):
    """What carries a session end to end is lost; it goes on when its client has another way."""

    leg: LegName
    streams: int
    seconds: float
    """For how long, at most."""


@dataclass(frozen=True, slots=True)
class SessionResumed(Event):
    """It goes on."""

    leg: LegName
    away: float
    """Seconds for which it was held; 0: its client is elsewhere at once."""


@dataclass(frozen=True, slots=True)
class LoginFailed(Event):
    """A connection ended without a login."""

    leg: LegName
    source: str
    reason: str
    inner: bool


@dataclass(frozen=True, slots=True)
class KeyRefused(Event):
    """A key was offered that may not log in."""

    leg: LegName
    source: str
    key: str
    """Its fingerprint."""
    reason: str


@dataclass(frozen=True, slots=True)
class SignatureRefused(Event):
    """A login was tried with a signature of a kind that is not accepted."""

    leg: LegName
    source: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """A client that has logged in asked for something that it is not given."""

    leg: LegName
    what: str


@dataclass(frozen=True, slots=True)
class RightsChanged(Event):
    """By authorized_keys as it is now, a client that is here may do something else than before."""

    leg: LegName


@dataclass(frozen=True, slots=True)
class RightsLost(Event):
    """By authorized_keys as it is now, a client may not be here any more: its leg ends."""

    leg: LegName
    reason: str


@dataclass(frozen=True, slots=True)
class LimitHit(Event):
    """Somebody was refused something, or lost it, because of a limit of ours."""

    limit: str
    """The limit's name, as its flag has it where there is one."""


# -- services and streams at B


@dataclass(frozen=True, slots=True)
class ServicePublished(Event):
    """An agent has published a service."""

    service: str
    leg: LegName


@dataclass(frozen=True, slots=True)
class ServiceRefused(Event):
    """An agent may not publish what it asked for."""

    service: str
    leg: LegName
    cause: str
    """The name of a `relay.core.services.ServiceRefusal`."""
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceTaken(Event):
    """A leg takes over a service from an older one of the same key."""

    service: str
    leg: LegName
    older: LegName


@dataclass(frozen=True, slots=True)
class ServiceWithdrawn(Event):
    """A service is published no more. Streams to it that are open go on."""

    service: str
    leg: LegName
    reason: str


@dataclass(frozen=True, slots=True)
class StreamHeld(Event):
    """A stream waits for its service, whose agent was here a moment ago."""

    service: str
    leg: LegName
    """The opener's."""


@dataclass(frozen=True, slots=True)
class StreamRefused(Event):
    """A client may not open what it asked for, or it is not there."""

    wanted: str
    leg: LegName
    code: int
    """Why, as a client of ours is told it (relay.wire.numbers.OpenFailure)."""
    reason: str
    inner: bool
    """An agent's endpoint refused it."""


@dataclass(frozen=True, slots=True)
class SpliceOpened(Event):
    """A stream to a service is open."""

    service: str
    leg: LegName
    """The opener's."""


@dataclass(frozen=True, slots=True)
class SpliceClosed(Event):
    """It is over, or never came to be."""

    service: str
    leg: LegName
    there: int
    """Bytes from the opener to the service."""
    back: int
    seconds: float
    """Since it was asked for."""
    reason: str
    """Why it broke or never came to be; empty: it ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortStreamClosed(StreamClosed):
    """B: a connection to the open port of a service."""

    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStreamClosed(StreamClosed):
    """An agent's endpoint: a stream that a session opened."""

    leg: LegName
    target: str


# -- a server


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """B takes connections at this address."""

    address: str


@dataclass(frozen=True, slots=True)
class SettingChanged(Event):
    """A reload brought another value of a setting."""

    name: str
    before: str
    after: str
    live: bool
    """It is obeyed from now on; else when the program starts anew."""


@dataclass(frozen=True, slots=True)
class Draining(Event):
    """B stops, and lets the streams that are open finish."""

    legs: int
    """Those with open streams."""
    seconds: float
    """For which they are waited for, at most."""
