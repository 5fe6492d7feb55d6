"""The configuration of `relay-connect`."""

from __future__ import annotations

from dataclasses import dataclass

from relay.core.forward import Forward
from relay.core.limits import BUSY_POLL
from relay.core.window import MOST
from relay.settings.connect import DEFAULT_WAIT
from relay.sshconfig.client import ClientConfig, ControlPath


@dataclass(frozen=True, slots=True)
class ConnectConfig:
    """Where to dial and which local ports to open."""

    client: ClientConfig
    local_forwards: tuple[Forward, ...]
    gateway_ports: bool = False
    """`-g`: a forward without a bind address listens on every address, not on loopback alone."""
    dynamic_forwards: tuple[Forward, ...] = ()
    """`-D`: where to listen for clients that speak SOCKS."""
    stdio_forward: tuple[str, int] | None = None
    """`-W`: the host and port that standard input and output are joined with."""
    exit_on_forward_failure: bool = True
    """A port that cannot be opened ends the program. (ssh's default is no.)"""
    stream_local_bind_mask: int = 0o177
    """The bits of the mode that the file of a unix socket does not get."""
    stream_local_bind_unlink: bool = False
    """A file that is where a unix socket is to be is removed first."""
    once: bool = False
    """The end of the leg is the end of the program."""
    busy_poll: int = BUSY_POLL
    """Microseconds for which the program polls, at most, before it sleeps; 0: it never does."""
    max_window: int = MOST
    """Bytes that one stream may have under way to this machine."""
    keep_trying: bool = False
    """A refusal that only a person can undo does not end the program."""
    wait: float = DEFAULT_WAIT
    """Seconds that a new connection waits while there is no leg, or behind a new leg no service."""
    control: ControlPath | None = None
