"""The configuration of `relay-connect`."""

from __future__ import annotations

from dataclasses import dataclass

from relay.policy.forward import Forward
from relay.ssh.config import ClientConfig


@dataclass(frozen=True, slots=True)
class ConnectConfig:
    """Where to dial and which local ports to open."""

    client: ClientConfig
    local_forwards: tuple[Forward, ...]
    gateway_ports: bool = False
    """`-g`: a forward without a bind address listens on every address, not on loopback alone."""
