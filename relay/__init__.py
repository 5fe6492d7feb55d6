"""A relay for TCP services behind NAT, in plain SSH: server on B, agent on C, connect on A.

As a library it is a tunnel in one's own process, on asyncio and on trio:

    import relay

    async with relay.connect("user@b", identity="client_key") as tunnel:
        stream = await tunnel.open("gpu1:8000")
        await stream.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
        answer = await stream.receive()

A `Tunnel` opens services (`open`, `forward`, `socks`), publishes them (`publish`, `listen`), tells
what happens (`events`), and is connected again when its connection was lost. `serve` is a
relay-server in one's own process. For programs that block there is `relay.sync`.

What it raises tells whose doing it is: `LocalError` is this side's, `PeerError` the other side's.
The names of all of them, and of the events, are below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from relay import sync
    from relay.errors import (
        AddressError,
        ConfigError,
        FileError,
        HostKeyRefused,
        LegLost,
        LocalError,
        NotPublished,
        PeerError,
        ProtocolViolation,
        Refused,
        RelayError,
        Replaced,
        ServiceUnreachable,
        UnknownService,
        UsageError,
    )
    from relay.events import Event
    from relay.events.client import (
        Connected,
        Disconnected,
        NotConnected,
        Reconnected,
        ServiceGivenUp,
        ServiceGranted,
        ServiceNotGranted,
        StillTrying,
    )
    from relay.io.memory import StreamAttribute
    from relay.library.server import Server, serve
    from relay.library.stream import Stream
    from relay.library.tunnel import (
        EventFeed,
        Listener,
        PortForward,
        Service,
        Tunnel,
        connect,
    )

__version__ = "0.1.0"

_PLACES: Final = {
    "relay.errors": (
        "AddressError", "ConfigError", "FileError", "HostKeyRefused", "LegLost", "LocalError",
        "NotPublished", "PeerError", "ProtocolViolation", "Refused", "RelayError", "Replaced",
        "ServiceUnreachable", "UnknownService", "UsageError",
    ),
    "relay.events": ("Event",),
    "relay.events.client": (
        "Connected", "Disconnected", "NotConnected", "Reconnected", "ServiceGivenUp",
        "ServiceGranted", "ServiceNotGranted", "StillTrying",
    ),
    "relay.io.memory": ("StreamAttribute",),
    "relay.library.server": ("Server", "serve"),
    "relay.library.stream": ("Stream",),
    "relay.library.tunnel": (
        "EventFeed", "Listener", "PortForward", "Service", "Tunnel", "connect",
    ),
}  # fmt: skip
"""The names above, and where they are: `import relay` imports none of it."""

_MODULES: Final = ("asgi", "httpx", "httpx2", "sync")
"""Those that need not be imported by name. All but the last want a package that is not ours."""

__all__ = [
    "AddressError",
    "ConfigError",
    "Connected",
    "Disconnected",
    "Event",
    "EventFeed",
    "FileError",
    "HostKeyRefused",
    "LegLost",
    "Listener",
    "LocalError",
    "NotConnected",
    "NotPublished",
    "PeerError",
    "PortForward",
    "ProtocolViolation",
    "Reconnected",
    "Refused",
    "RelayError",
    "Replaced",
    "Server",
    "Service",
    "ServiceGivenUp",
    "ServiceGranted",
    "ServiceNotGranted",
    "ServiceUnreachable",
    "StillTrying",
    "Stream",
    "StreamAttribute",
    "Tunnel",
    "UnknownService",
    "UsageError",
    "connect",
    "serve",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"relay.{name}")
    for module, found in _PLACES.items():
        if name in found:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
