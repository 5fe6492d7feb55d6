"""Services of B itself, without an agent and without a port: what a client's `direct-tcpip` reaches
in this very process.

They show or change what B does for everybody, so that no key may open one by default: its
`permitopen` must name it. No agent can publish one.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.core.handler import ChannelHandler
from relay.core.services import ServiceKey, service_key
from relay.ssh.server import ServerLeg

Serve = Callable[[ServerLeg], ChannelHandler]
"""Gives the other side of a channel that a client of this leg opens."""


class Inside:
    """Which there are: none, unless somebody has entered one."""

    def __init__(self) -> None:
        self._services: dict[ServiceKey, Serve] = {}

    def enter(self, name: str, port: int, serve: Serve) -> None:
        """Before anybody has logged in."""
        self._services[service_key(name, port)] = serve

    def find(self, name: str, port: int) -> Serve | None:
        """What serves this, be it opened or published."""
        return self._services.get(service_key(name, port))
