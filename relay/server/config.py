"""The configuration of `relay-server`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from relay.core.forward import format_address
from relay.core.hold import HOLD
from relay.core.limits import (
    BUSY_POLL,
    CLIENT_ALIVE_COUNT_MAX,
    CLIENT_ALIVE_INTERVAL,
    Limits,
)
from relay.sshconfig.client import GatewayPorts, YesNo

DRAIN: Final = 10.0
"""Seconds for which streams may go on after a signal to stop: an answer under way is done by then,
and less than any supervisor waits before it kills."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything `relay-server` can be told; the defaults are the command line's."""

    state_dir: Path
    listen: tuple[tuple[str, int], ...] = (("0.0.0.0", 2222), ("::", 2222))
    host_keys: tuple[Path, ...] = ()
    """Empty: `ssh_host_ed25519_key` in the state folder, made at the first start."""
    host_certificates: tuple[Path, ...] = ()
    """Certificates of the host keys, for clients that trust an authority (`@cert-authority`)."""
    authorized_keys: Path | None = None
    """None: `authorized_keys` in the state folder."""
    strict_modes: YesNo = "yes"
    """Must nobody else be able to write authorized_keys?"""
    gateway_ports: GatewayPorts = "no"
    privileged_ports: YesNo = "no"
    """May every key that may publish a port publish one below 1024?"""
    share_services: tuple[str, ...] = ()
    """Patterns of `name:port` that several agents may publish together."""
    ciphers: tuple[str, ...] = ()
    """Empty: `algorithms.CIPHERS`."""
    rekey_limit: int = 0
    """Bytes in either direction after which keys are changed; 0: what the cipher allows."""
    client_alive_interval: float = CLIENT_ALIVE_INTERVAL
    """Seconds of silence after which a client is asked whether it is there; 0: never."""
    client_alive_count_max: int = CLIENT_ALIVE_COUNT_MAX
    """Questions without an answer after which a client is given up; 0: it never is."""
    drain: float = DRAIN
    hold: float = HOLD
    """Seconds for which who opens a service waits while its agent is away; 0: not at all."""
    busy_poll: int = BUSY_POLL
    """Microseconds for which the program polls, at most, before it sleeps; 0: it never does."""
    limits: Limits = field(default_factory=Limits)


FIXED: Final = frozenset(
    {"state_dir", "listen", "host_keys", "host_certificates", "authorized_keys"}
)
"""What only a new start can change: sockets and files that are open."""


def changes(old: ServerConfig, new: ServerConfig) -> list[tuple[str, str, str, bool]]:
    """What differs: the key, the old and the new value, and whether it can change at run time."""
    return [
        (name.replace("_", "-"), _shown(before), _shown(after), name not in FIXED)
        for (name, before), (_, after) in zip(_settings(old), _settings(new), strict=True)
        if before != after
    ]


def _shown(value: Any) -> str:
    if not isinstance(value, tuple):
        return "default" if value is None else str(value)
    each = (format_address(*one) if isinstance(one, tuple) else str(one) for one in value)
    return ", ".join(each) or "default"


def _settings(config: ServerConfig) -> list[tuple[str, Any]]:
    """Every setting with its value, the limits among them."""
    names = [one.name for one in fields(ServerConfig) if one.name != "limits"]
    limits = [one.name for one in fields(Limits)]
    return [(name, getattr(config, name)) for name in names] + [
        (name, getattr(config.limits, name)) for name in limits
    ]
