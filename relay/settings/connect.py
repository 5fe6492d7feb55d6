"""What `relay-connect` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from relay.settings.client import FORWARD, ClientLogSettings, ClientSettings
from relay.settings.general import (
    GENERAL,
    busy_poll_option,
    http_option,
    http_token_option,
    max_window_option,
    once_option,
    resume_option,
)
from relay.settings.kinds import SECONDS, text
from relay.settings.option import option, part

DEFAULT_WAIT: Final = 15.0
"""Seconds that a new connection waits for B: the usual restart of a server, and less than most
clients' own patience."""

_opened = partial(option, group="what to open")
_connected = partial(option, group="staying connected")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSettings:
    """The flags. With the files of ssh_config they make a `ConnectConfig`."""

    local_forwards: tuple[str, ...] = _opened(
        "-L",
        keyword="LocalForward",
        kind=text(FORWARD),
        many=True,
        default=(),
        help="listen on port here, and reach the service host:hostport, repeatable; "
        "port 0 picks one; /path/of/a/socket may stand for either side",
    )
    dynamic_forwards: tuple[str, ...] = _opened(
        "-D",
        keyword="DynamicForward",
        kind=text("[bind:]port"),
        many=True,
        default=(),
        help="listen on port here for clients that speak SOCKS and name the service, repeatable",
    )
    stdio_forward: str | None = _opened(
        "-W",
        kind=text("host:port"),
        default=None,
        help="join standard input and output with the service, as for a ProxyCommand",
    )
    gateway_ports: bool = _opened(
        "-g", keyword="GatewayPorts", default=False, help="let other machines use these ports too"
    )
    wait: float = _connected(
        "--wait",
        kind=SECONDS,
        default=DEFAULT_WAIT,
        help="how long a new connection waits while the server is away, and after its return "
        "for a service that is not published again yet (default {default})",
    )
    resume_for: float = resume_option("staying connected")
    keep_trying: bool = _connected(
        "--keep-trying",
        default=False,
        help="go on after a refusal as well (a key, a host key), every minute or two",
    )
    once: bool = once_option("staying connected")
    busy_poll: int = busy_poll_option("speed")
    max_window: int = max_window_option("speed")
    http: tuple[str, int] | Path | None = http_option(GENERAL, "numbers for Prometheus")
    http_token_file: Path | None = http_token_option(GENERAL)
    client: ClientSettings = part(ClientSettings)
    log: ClientLogSettings = part(ClientLogSettings)
