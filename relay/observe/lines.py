"""What the log says of each event: its level, its name for machines, its sentence, and how often.

The names and fields are what `--log-format json` prints, and never change. A sentence is a
`str.format` template; its fields are the event's, or made from them by `_MADE` or by the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from string import Formatter
from typing import Any, Final

import anyio

from relay.events import Event, Field, Level, Note, StreamClosed, client, server
from relay.observe.damper import SUMS_OF
from relay.observe.log import EventLog
from relay.observe.strangers import Strangers
from relay.observe.tally import Tally

REPORT_INTERVAL: Final = 60.0
"""Seconds between two reports of what was not told each time."""

Make = Callable[[Any], Field]
"""A field of a line, from its event."""


@dataclass(frozen=True, slots=True)
class Line:
    """How one kind of event is told."""

    level: Level
    name: str
    text: str
    per: str = ""
    """The field that names who can cause it as often as it likes; empty: nobody."""
    more: tuple[str, ...] = ()
    """Fields that machines get and the sentence has not."""
    made: Mapping[str, Make] = field(default_factory=dict)
    """Fields that are not the event's own, nor `_MADE`."""
    fields: tuple[tuple[str, Make], ...] = field(init=False)
    """What it shows, each with how it is come by."""
    peer: Make | None = field(init=False)
    """That of `per`."""

    def __post_init__(self) -> None:
        named = tuple(name for _, name, _, _ in Formatter().parse(self.text) if name)
        shown = tuple((name, self._make(name)) for name in self.more + named)
        object.__setattr__(self, "fields", shown)
        object.__setattr__(self, "peer", self._make(self.per) if self.per else None)

    def _make(self, name: str) -> Make:
        return self.made.get(name) or _MADE.get(name) or attrgetter(name)


_MADE: Final[Mapping[str, Make]] = {
    "leg": lambda event: str(event.leg),
    "older": lambda event: str(event.older),
    "who": lambda event: event.leg.who,
    "peer": lambda event: event.leg.peer,
    "why": lambda event: f": {event.reason}" if event.reason else "",
    "away": lambda event: duration(event.away),
    "delay": lambda event: duration(event.delay),
    "most": lambda event: duration(event.seconds),
    "held": lambda event: f"{event.streams} stream{'' if event.streams == 1 else 's'}",
}

_LEG_UP: Final = Line(
    "info", "leg up", "leg up: {who} as {user} from {peer}, {client}, {cipher}", per="who"
)
_LEG_DOWN: Final = Line("info", "leg down", "leg down: {who} from {peer}{why}", per="who")
_LOGIN_FAILED: Final = Line(
    "info", "login failed", "{peer} did not log in{why}", more=("who",)
)  # fmt: skip
_SESSION_UP: Final = Line(
    "info", "session up", "end to end session: {who} as {user} from {peer}, {cipher}", per="who"
)
_SESSION_OVER: Final = "end to end session over: {who} from {peer}{why}"
_SESSION_DOWN: Final = Line("info", "session down", _SESSION_OVER, per="who")
_SESSION_FAILED: Final = Line("info", "login failed", _SESSION_OVER)

_STREAM_REFUSED: Final = Line(
    "warning", "stream refused", "{service} refused to {leg}: {reason}",
    per="who", made={"service": attrgetter("wanted")},
)  # fmt: skip
_SESSION_STREAM_REFUSED: Final = Line(
    "warning", "stream refused", "{target} refused to {leg}: {why}",
    per="who", made={"target": attrgetter("wanted"), "why": attrgetter("reason")},
)  # fmt: skip

_PUBLISHED: Final = "{service} -> {target} published"
_NEWS: Final = Line("info", "published", _PUBLISHED)
_AS_BEFORE: Final = Line("debug", "published", _PUBLISHED)

_READY: Final = Line(
    "info", "ready", "{listening} -> {target} ready{but}",
    made={"but": lambda event: f", {event.problem}" if event.problem else ""},
)  # fmt: skip
_SOCKS_READY: Final = Line("info", "ready", "{listening} -> SOCKS ready")

_CLOSED: Final = Line("info", "closed", "{listening} -> {target} closed")
_SOCKS_CLOSED: Final = Line("info", "closed", "{listening} -> SOCKS closed")

_WAITS: Final = "{listening} -> {target}: {reason}; waiting for it"
_WAITS_FIRST: Final = Line("info", "waiting", _WAITS)
_WAITS_AGAIN: Final = Line("debug", "waiting", _WAITS)

_SOCKS_REFUSED_HERE: Final = Line(
    "warning", "socks refused", "{listening}: {origin}: {reason}",
    made={"listening": attrgetter("at")},
)  # fmt: skip
_SOCKS_REFUSED_THERE: Final = Line(
    "warning", "socks refused", "{service}: SOCKS client refused: {reason}",
    per="service", made={"service": attrgetter("at")},
)  # fmt: skip

_CHANGED: Final = Line("info", "configuration changed", "{name}: {before} -> {after}")
_KEPT: Final = Line(
    "info", "configuration kept", "{name} stays {before} until restarted", more=("after",)
)


def _stream_closed(text: str, per: str = "") -> Callable[[StreamClosed], Line]:
    """A warning if the stream was refused, else for `-v`."""
    refused, over = (Line(level, "stream closed", text, per) for level in ("warning", "debug"))
    return lambda event: refused if event.refused else over


LINES: Final[Mapping[type[Event], Line | Callable[[Any], Line]]] = {
    server.LegUp: lambda event: _SESSION_UP if event.inner else _LEG_UP,
    server.LegDown: lambda event: _SESSION_DOWN if event.inner else _LEG_DOWN,
    server.SessionHeld: Line(
        "info", "session held", "held: {held} of {who}, for up to {most}",
        per="who", more=("streams",),
    ),
    server.SessionResumed: Line("info", "session resumed", "again: {who}, after {away}", per="who"),
    server.LoginFailed: lambda event: _SESSION_FAILED if event.inner else _LOGIN_FAILED,
    server.KeyRefused: Line("info", "key refused", "{peer}: key {key} refused: {reason}"),
    server.SignatureRefused: Line(
        "info", "signature refused", "{peer}: a signature with {algorithm} is not accepted"
    ),
    server.RequestRefused: Line(
        "warning", "request refused", "{leg} asked for {what}: refused", per="who"
    ),
    server.RightsChanged: Line("info", "rights changed", "{leg} has other rights now"),
    server.RightsLost: Line(
        "warning", "rights lost", "{leg} may not be here any more: {reason}"
    ),
    server.LimitHit: Line("warning", "limit hit", "limit hit: {limit}"),
    server.ServicePublished: Line(
        "info", "service published", "{service} published by {leg}", per="who"
    ),
    server.ServiceRefused: Line(
        "warning", "service refused", "{service} refused to {leg}: {reason}", per="who"
    ),
    server.ServiceTaken: Line(
        "info", "leg replaced", "{service}: {leg} takes over from {older}", per="who"
    ),
    server.ServiceWithdrawn: Line(
        "info", "service withdrawn", "{service} withdrawn: {reason}", per="who"
    ),
    server.StreamHeld: Line("debug", "stream held", "{service}: {leg} waits for it", per="who"),
    server.StreamRefused: lambda event: (
        _SESSION_STREAM_REFUSED if event.inner else _STREAM_REFUSED
    ),
    server.SpliceOpened: Line(
        "info", "splice opened", "{service} splice opened for {leg}", per="who"
    ),
    server.SpliceClosed: Line(
        "info", "splice closed",
        "{service} splice closed for {leg}: {there} bytes there, {back} back, {seconds:.3f} s{why}",
        per="who",
        made={"seconds": lambda event: round(event.seconds, 3)},
    ),
    server.PortStreamClosed: Line(
        "info", "stream closed",
        "stream on port {port} closed, {in_bytes} bytes in, {out_bytes} bytes out{why}",
        per="listener",
        made={
            "listener": lambda event: f"port {event.port}",
            "in_bytes": attrgetter("sent"),
            "out_bytes": attrgetter("received"),
        },
    ),
    server.SessionStreamClosed: _stream_closed(
        "{target}: closed, {received} bytes in, {sent} bytes out{why}", per="who"
    ),
    client.Connected: Line("debug", "leg up", "connected to {where} ({version}, {cipher})"),
    client.NotConnected: Line(
        "warning", "not connected", "{reason}; trying again in {delay}", more=("where",)
    ),
    client.Disconnected: Line(
        "warning", "leg lost", "lost {where}: {reason}; trying again in {delay}"
    ),
    client.StillTrying: Line(
        "warning", "still trying",
        "still trying {where}, for {away} now: {reason}; again in {delay}",
    ),
    client.Reconnected: Line("info", "leg up again", "connected to {where} again, after {away}"),
    client.SessionHeld: Line(
        "info", "session held", "held: {held}, for up to {most}", more=("streams",)
    ),
    client.SessionResumed: Line("info", "session resumed", "again, after {away}"),
    client.SessionLost: Line(
        "error", "session lost", "{held} reset: {reason}", more=("streams",)
    ),
    client.ServiceGranted: lambda event: _NEWS if event.news else _AS_BEFORE,
    client.ServiceNotGranted: Line("error", "not published", "{reason}"),
    client.ServiceGivenUp: Line("info", "withdrawn", "{service} -> {target} withdrawn"),
    client.ServiceDown: Line(
        "warning", "service down",
        "{service}: {target} does not answer ({reason}); not published until it does",
    ),
    client.ServiceUp: Line(
        "info", "service up", "{service}: {target} answers, after {away}"
    ),
    client.StreamOpened: Line(
        "debug", "stream opened", "{service}: stream from {origin} to {target}", per="service"
    ),
    client.ServiceStreamClosed: _stream_closed(
        "{service}: stream from {origin} to {target} closed, {received} bytes in, "
        "{sent} bytes out{why}",
        per="service",
    ),
    client.Ready: lambda event: _READY if event.target else _SOCKS_READY,
    client.Closed: lambda event: _CLOSED if event.target else _SOCKS_CLOSED,
    client.NotReady: Line("error", "not ready", "{reason}"),
    client.StreamWaits: lambda event: _WAITS_AGAIN if event.again else _WAITS_FIRST,
    client.LocalStreamClosed: _stream_closed(
        "{listening} -> {target}: stream closed, {sent} bytes there, {received} back{why}"
    ),
    client.SocksRefused: lambda event: (
        _SOCKS_REFUSED_HERE if event.origin else _SOCKS_REFUSED_THERE
    ),
    server.Listening: Line("info", "listening", "listening on {address}"),
    server.SettingChanged: lambda event: _CHANGED if event.live else _KEPT,
    server.Draining: Line(
        "info", "draining", "stopping: {legs} legs have open streams, for at most {seconds:g} s"
    ),
}  # fmt: skip


class LogSink:
    """Tells a log of events. Some are counted rather than told, until `report`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._tally = Tally()
        self._strangers = Strangers()
        # What may be told now of these; what may not counts.
        self._tells: Mapping[type[Event], Callable[[Any], bool]] = {
            server.LimitHit: lambda event: self._tally.hit(event.limit),
            server.KeyRefused: lambda event: self._strangers.line(event.source),
            server.SignatureRefused: lambda event: self._strangers.line(event.source),
            server.LoginFailed: lambda event: self._strangers.gone(event.source),
            server.LegUp: lambda event: self._strangers.logged_in(event.source),
        }

    def __call__(self, event: Event) -> None:
        """Write its line."""
        log = self._log
        if isinstance(event, Note):
            log.line(event.level, event.name, event.text, event.per, event.fields)
            return
        line = LINES[type(event)]
        if not isinstance(line, Line):
            line = line(event)
        if not log.enabled(line.level):
            return
        tells = self._tells.get(type(event))
        if tells is not None and not tells(event):
            return
        if line.peer is not None:
            sums = {name: getattr(event, name) for name in SUMS_OF.get(line.name, ())}
            if not log.tells(str(line.peer(event)), line.name, sums):
                return
        fields = {name: make(event) for name, make in line.fields}
        log.line(line.level, line.name, line.text, "", fields)

    async def run(self) -> None:
        """Report in time, until cancelled."""
        while True:
            await anyio.sleep(REPORT_INTERVAL)
            self.report()

    def report(self) -> None:
        """Tell of what was not told."""
        for limit, count in self._tally.report():
            text = "limit hit: {limit}, {count} times more"
            self._log.warning("limit hit", text, limit=limit, count=count)
        for source, count in self._strangers.report():
            text = "{source}: {count} more connections did not log in"
            self._log.info("logins failed", text, source=source, count=count)
        self._log.report()


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `5 min`, `3 h`: as exact as a person cares for."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
