"""The configuration of `relay-server`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relay.ssh.config import GatewayPorts


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything `relay-server` can be told; the defaults are the command line's."""

    state_dir: Path
    listen: tuple[tuple[str, int], ...] = (("0.0.0.0", 2222), ("::", 2222))
    host_keys: tuple[Path, ...] = ()
    """Empty: `ssh_host_ed25519_key` in the state folder, made at the first start."""
    authorized_keys: Path | None = None
    """None: `authorized_keys` in the state folder."""
    gateway_ports: GatewayPorts = "no"
    ciphers: tuple[str, ...] = ()
    """Empty: `algorithms.CIPHERS`."""
    rekey_limit: int = 0
    """Bytes in either direction after which keys are changed; 0: what the cipher allows."""
