"""What a program needs to know to make its leg; the command lines build it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from relay.sshconfig.proxy import HttpProxy

StrictHostKeyChecking = Literal["yes", "accept-new", "no", "ask"]
GatewayPorts = Literal["no", "yes", "clientspecified"]
YesNo = Literal["yes", "no"]
AddressFamily = Literal["any", "inet", "inet6"]

DEFAULT_PORT = 22

SERVER_ALIVE_INTERVAL = 15
"""ServerAliveInterval where nothing is configured, as B's own. (ssh's is 0: never ask. Then a dead
B is noticed by who waits for an answer, and an agent never does.)"""

SERVER_ALIVE_COUNT_MAX = 3


@dataclass(frozen=True, slots=True)
class ControlPath:
    """Where a running program can be looked at and changed (ControlPath)."""

    path: Path
    is_default: bool
    """Nobody has asked for it: it is no matter if it cannot be had."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How `relay-agent` and `relay-connect` reach B and who they are there. ssh_config's words."""

    host: str
    user: str
    port: int = DEFAULT_PORT

    identity_files: tuple[Path, ...] = ()
    """Empty: `~/.ssh/id_*`, as ssh does without `-i`. The keys of ssh-agent come on top."""
    optional_identity_files: frozenset[Path] = frozenset()
    """Those of `identity_files` that may be missing: ssh says nothing of one in a file's
    IdentityFile, and complains about one of `-i`."""
    identities_only: bool = False
    """Of the agent's keys, use only those that `identity_files` name too."""
    identity_agent: str | None = None
    """The agent's socket; None: what SSH_AUTH_SOCK says; empty: no agent."""
    certificate_files: tuple[Path, ...] = ()

    user_known_hosts_files: tuple[Path, ...] = ()
    """Empty: `~/.ssh/known_hosts`. New keys are written to the first."""
    global_known_hosts_files: tuple[Path, ...] = field(
        default=(Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
    )
    strict_host_key_checking: StrictHostKeyChecking = "yes"
    batch_mode: bool = False
    """BatchMode: nobody is asked anything."""
    host_key_alias: str = ""
    hash_known_hosts: bool = False

    ciphers: tuple[str, ...] = ()
    """Empty: `algorithms.CIPHERS`."""
    kex_algorithms: tuple[str, ...] = ()
    """Empty: `algorithms.CLIENT_KEX`."""
    mac_algorithms: tuple[str, ...] = ()
    """Empty: `algorithms.MACS`."""
    host_key_algorithms: str = ""
    """As in ssh_config, `+`, `-` and `^` included: what it changes depends on the known keys."""
    rekey_limit: int = 0
    """Bytes in either direction after which keys are changed; 0: what the cipher allows."""
    rekey_seconds: int = 0
    """Seconds after which keys are changed; 0: no limit of time."""

    proxy_jump: tuple[ClientConfig, ...] = ()
    """The hosts to pass on the way, the nearest first; only the first may have a
    `proxy_command` or an `http_proxy`, and none a `proxy_jump`."""
    proxy_command: str = ""
    """For the shell; its input and output are the connection."""
    http_proxy: HttpProxy | None = None
    """Whom to ask for the connection, where there is neither of these two."""
    connect_timeout: float | None = None
    """Seconds until B has shown its key; None: as long as the system takes."""
    address_family: AddressFamily = "any"
    bind_address: str = ""
    """Where the connection comes from; empty: the system chooses."""
    tcp_keepalive: bool = True
    server_alive_interval: int = SERVER_ALIVE_INTERVAL
    """Seconds of silence after which B is asked whether it is there; 0: never."""
    server_alive_count_max: int = SERVER_ALIVE_COUNT_MAX
    """Questions without an answer after which the connection counts as lost."""
