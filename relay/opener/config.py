"""The configuration of `relay-connect`."""

from __future__ import annotations

from dataclasses import dataclass

from relay.core.forward import Forward
from relay.sshconfig.client import ClientConfig, ControlPath


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectConfig:
    """Where to dial and which local ports to open."""

    client: ClientConfig
    local_forwards: tuple[Forward, ...]
    gateway_ports: bool
    """`-g`: a forward without a bind address listens on every address, not on loopback alone."""
    dynamic_forwards: tuple[Forward, ...]
    """`-D`: where to listen for clients that speak SOCKS."""
    stdio_forward: tuple[str, int] | None
    """`-W`: the host and port that standard input and output are joined with."""
    exit_on_forward_failure: bool
    """A port that cannot be opened ends the program. (ssh's default is no.)"""
    stream_local_bind_mask: int
    """The bits of the mode that the file of a unix socket does not get."""
    stream_local_bind_unlink: bool
    """A file that is where a unix socket is to be is removed first."""
    once: bool
    """The end of the leg is the end of the program."""
    busy_poll: int
    """Microseconds for which the program polls, at most, before it sleeps; 0: it never does."""
    max_window: int
    """Bytes that one stream may have under way to this machine."""
    keep_trying: bool
    """A refusal that only a person can undo does not end the program."""
    resume_for: float
    """Seconds for which streams end to end wait for another way to go on; 0: they do not."""
    wait: float
    """Seconds that a new connection waits while there is no leg, or behind a new leg no service."""
    control: ControlPath | None
