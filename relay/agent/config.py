"""The configuration of `relay-agent`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relay.core.forward import Forward
from relay.core.grants import Permit
from relay.core.health import Checks
from relay.sshconfig.client import ClientConfig, ControlPath, YesNo


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Where to dial and what to publish there."""

    client: ClientConfig
    remote_forwards: tuple[Forward, ...]
    exit_on_forward_failure: bool
    """With `once`, a forward that B refuses ends the program. ssh's default is no: who uses it as
    a service finds out that a part of it is missing when somebody needs that part."""
    once: bool
    """The end of the leg is the end of the program, and a forward is asked for once."""
    busy_poll: int
    """Microseconds for which the program polls, at most, before it sleeps; 0: it never does."""
    max_window: int
    """Bytes that one stream may have under way to this machine."""
    permit_remote_open: tuple[Permit, ...] | None
    """Where the streams of a dynamic forward may go; None: anywhere."""
    endpoint: EndpointConfig | None
    control: ControlPath | None
    checks: Checks | None
    """None: nothing is checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """`--endpoint`: an SSH server of the agent's own, published as `name:port`."""

    name: str
    port: int
    """Where its sessions are looked for; with an sshd as B it is a port that opens there."""
    state_dir: Path
    """Where its host key and its `authorized_keys` are."""
    allow: tuple[Permit, ...] = (Permit("localhost", None), Permit("127.0.0.1", None))
    """What its sessions may reach, whatever their keys permit."""
    strict_modes: YesNo
    """Must nobody else be able to write its `authorized_keys`?"""
    resume_for: float
    """Seconds for which a session that has lost its way is kept; 0: it is not."""
    reverse: bool
    """Its sessions may ask for forwards the other way, from ports of this machine's loopback."""

    @property
    def target(self) -> str:
        """For a person."""
        return "sessions end to end"
