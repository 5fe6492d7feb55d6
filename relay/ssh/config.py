"""What a program needs to know to make its leg; the command lines build it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

StrictHostKeyChecking = Literal["yes", "accept-new", "no", "ask"]
GatewayPorts = Literal["no", "yes", "clientspecified"]

DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How `relay-agent` and `relay-connect` reach B and who they are there. ssh_config's words."""

    host: str
    user: str
    port: int = DEFAULT_PORT
    identity_files: tuple[Path, ...] = ()
    """Empty: the keys of ssh-agent, then `~/.ssh/id_*`, as ssh does without `-i`."""
    user_known_hosts_files: tuple[Path, ...] = ()
    """Empty: `~/.ssh/known_hosts`. New keys are written to the first."""
    global_known_hosts_files: tuple[Path, ...] = field(
        default=(Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
    )
    strict_host_key_checking: StrictHostKeyChecking = "yes"
    ciphers: tuple[str, ...] = ()
    """Empty: `algorithms.CIPHERS`."""
    rekey_limit: int = 0
    """Bytes in either direction after which keys are changed; 0: what the cipher allows."""
    connect_timeout: float | None = None
    """Seconds for the TCP connection; None: the system's."""
