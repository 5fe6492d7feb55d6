"""What the history says of each event: for people who have never read our code or our log.

`TOLD` has the events that are worth keeping for days. Streams that open and end are not among
them, since a busy client makes a thousand in a minute: the log has them, and what they moved is in
the rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.events import Event, LegName, Level, server
from relay.observe.log import printable

LONGEST_TEXT: Final = 400
"""Characters of a sentence or a name: what fits in a line of a page. A peer's packet holds a name
of a quarter of a megabyte."""

CONNECTED: Final = "connected"
DISCONNECTED: Final = "disconnected"
LOGIN_REFUSED: Final = "login refused"
RIGHTS: Final = "rights changed"
PUBLISHED: Final = "published"
WITHDRAWN: Final = "withdrawn"
PUBLISH_REFUSED: Final = "publishing refused"
OPEN_REFUSED: Final = "opening refused"
REQUEST_REFUSED: Final = "request refused"
LIMIT: Final = "limit hit"
SERVER: Final = "server"

KINDS: Final = (
    CONNECTED, DISCONNECTED, PUBLISHED, WITHDRAWN, OPEN_REFUSED, PUBLISH_REFUSED, LOGIN_REFUSED,
    REQUEST_REFUSED, RIGHTS, LIMIT, SERVER,
)  # fmt: skip
"""All there are. Machines may rely on these words; more may come."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, as it is kept. What it does not say is empty."""

    kind: str
    level: Level
    text: str
    service: str = ""
    key: str = ""
    """A fingerprint."""
    comment: str = ""
    """The key's, in authorized_keys."""
    peer: str = ""
    """Where that client comes from."""
    per: str = ""
    """Who can cause it as often as it likes. It is not kept."""


def tell(event: Event) -> Told | None:
    """What is kept of an event. None: nothing."""
    told = TOLD.get(type(event))
    return None if told is None else told(event)


def _about(leg: LegName, kind: str, level: Level, text: str, service: str = "") -> Told:
    """Of a client that has logged in."""
    who = leg.comment or leg.fingerprint or "somebody"
    return Told(
        kind, level, short(f"{who} {text}"), short(service), leg.fingerprint,
        short(leg.comment), leg.peer, per=leg.fingerprint,
    )  # fmt: skip


def _stranger(event: Any, text: str) -> Told:
    """Of one that has not."""
    peer = event.leg.peer
    return Told(LOGIN_REFUSED, "warning", short(f"{peer} {text}"), peer=peer, per=event.source)


def _server(level: Level, text: str) -> Told:
    return Told(SERVER, level, short(text))


def _why(event: Any) -> str:
    return f": {event.reason}" if event.reason else ""


def short(text: str) -> str:
    """As much of it as is kept, with nothing in it that moves a cursor or turns a text."""
    text = printable(text[: LONGEST_TEXT + 1])
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


TOLD: Final[Mapping[type[Event], Callable[[Any], Told]]] = {
    server.LegUp: lambda event: _about(
        event.leg, CONNECTED, "info", f"connected from {event.leg.peer} as {event.user}"
    ),
    server.LegDown: lambda event: _about(
        event.leg, DISCONNECTED, "warning" if event.reason else "info",
        f"disconnected{_why(event)}",
    ),
    server.LoginFailed: lambda event: _stranger(event, f"did not log in{_why(event)}"),
    server.KeyRefused: lambda event: _stranger(
        event, f"offered the key {event.key}, which is refused: {event.reason}"
    ),
    server.SignatureRefused: lambda event: _stranger(
        event, f"signed with {event.algorithm}, which is not accepted"
    ),
    server.RequestRefused: lambda event: _about(
        event.leg, REQUEST_REFUSED, "warning", f"asked for {event.what}, which is refused"
    ),
    server.RightsChanged: lambda event: _about(event.leg, RIGHTS, "info", "has other rights now"),
    server.RightsLost: lambda event: _about(
        event.leg, RIGHTS, "warning", f"may not be here any more: {event.reason}"
    ),
    server.LimitHit: lambda event: Told(
        LIMIT, "warning", short(f"the limit {event.limit} was hit"), per=event.limit
    ),
    server.ServicePublished: lambda event: _about(
        event.leg, PUBLISHED, "info", f"published {event.service}", event.service
    ),
    server.ServiceTaken: lambda event: _about(
        event.leg, PUBLISHED, "info", f"took over {event.service} from {event.older.peer}",
        event.service,
    ),
    server.ServiceWithdrawn: lambda event: _about(
        event.leg, WITHDRAWN, "info", f"publishes {event.service} no more: {event.reason}",
        event.service,
    ),
    server.ServiceRefused: lambda event: _about(
        event.leg, PUBLISH_REFUSED, "warning",
        f"may not publish {event.service}: {event.reason}", event.service,
    ),
    server.StreamRefused: lambda event: _about(
        event.leg, OPEN_REFUSED, "warning", f"may not open {event.wanted}: {event.reason}",
        event.wanted,
    ),
    server.Listening: lambda event: _server("info", f"listening on {event.address}"),
    server.SettingChanged: lambda event: _server(
        "info",
        f"{event.name}: {event.before} → {event.after}"
        + ("" if event.live else " (at the next start)"),
    ),
    server.Draining: lambda event: _server("warning", "stopping"),
}  # fmt: skip
