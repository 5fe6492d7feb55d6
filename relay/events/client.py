"""What happens in a program that dials: relay-agent and relay-connect."""

from __future__ import annotations

from dataclasses import dataclass

from relay.events import Event, StreamClosed


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """It has logged in, at the server or at a jump host on the way."""

    where: str
    version: str
    """The server's version line."""
    cipher: str


@dataclass(frozen=True, slots=True)
class NotConnected(Event):
    """A try came to nothing. (Of those that come to the same, ever fewer are told.)"""

    where: str
    reason: str
    delay: float
    """Seconds until the next one."""


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """The connection to the server was lost."""

    where: str
    reason: str
    delay: float
    """Seconds until the next try."""


@dataclass(frozen=True, slots=True)
class StillTrying(Event):
    """A minute without a connection is over, and without another word of it."""

    where: str
    away: float
    """Seconds since there was a connection that held."""
    reason: str
    delay: float
    """Seconds until the next try."""


@dataclass(frozen=True, slots=True)
class Reconnected(Event):
    """The connection is back, after a `Disconnected`."""

    where: str
    away: float
    """Seconds since that."""


@dataclass(frozen=True, slots=True)
class SessionHeld(Event):
    """relay-connect: what carries a session end to end is lost; the session goes on when there is
    another way."""

    streams: int
    seconds: float
    """For how long, at most."""


@dataclass(frozen=True, slots=True)
class SessionResumed(Event):
    """relay-connect: it goes on."""

    away: float
    """Seconds for which it was held."""


@dataclass(frozen=True, slots=True)
class SessionLost(Event):
    """relay-connect: it does not, and its streams are reset."""

    streams: int
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceGranted(Event):
    """The server has granted a service."""

    service: str
    target: str
    news: bool
    """It was not published before, on an earlier connection."""


@dataclass(frozen=True, slots=True)
class ServiceNotGranted(Event):
    """The server refuses a service, or has given it to another program."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServiceGivenUp(Event):
    """A service was withdrawn, as it is not wanted any more."""

    service: str
    target: str


@dataclass(frozen=True, slots=True)
class ServiceDown(Event):
    """relay-agent: what is behind a service does not answer, and so it is not published."""

    service: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceUp(Event):
    """relay-agent: it answers again, or for the first time."""

    service: str
    target: str
    away: float
    """Seconds for which it did not."""


@dataclass(frozen=True, slots=True)
class StreamOpened(Event):
    """relay-agent: a stream to a service of ours."""

    service: str
    origin: str
    """Where it comes from, as the server says."""
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStreamClosed(StreamClosed):
    """relay-agent: it is over."""

    service: str
    origin: str
    target: str


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """relay-connect: a local port takes connections, and there is somebody to carry them."""

    listening: str
    target: str
    """Empty: SOCKS clients say it."""
    problem: str = ""
    """What keeps a connection that comes now from being served; empty: nothing that is known."""


@dataclass(frozen=True, slots=True)
class NotReady(Event):
    """relay-connect: a local port cannot be opened."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """relay-connect: a local port is closed, as it is not wanted any more."""

    listening: str
    target: str
    """As of `Ready`."""


@dataclass(frozen=True, slots=True)
class StreamWaits(Event):
    """relay-connect: a connection waits for its service, as it waits for the server."""

    listening: str
    target: str
    reason: str
    again: bool
    """It has waited before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStreamClosed(StreamClosed):
    """relay-connect: a connection to a local port is over."""

    listening: str
    target: str


@dataclass(frozen=True, slots=True)
class SocksRefused(Event):
    """A SOCKS client was turned away."""

    at: str
    """The local port, or at the agent the service by which it came."""
    origin: str
    """Where it comes from; empty: somewhere behind the server."""
    reason: str
