"""The configuration of `relay-agent`."""

from __future__ import annotations

from dataclasses import dataclass

from relay.policy.forward import Forward
from relay.ssh.config import ClientConfig


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Where to dial and what to publish there."""

    client: ClientConfig
    remote_forwards: tuple[Forward, ...]
