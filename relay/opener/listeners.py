"""The ports and sockets of this machine that are open, for the connections that come in there."""

from __future__ import annotations

import socket
from collections.abc import Callable

from relay.core.forward import Forward
from relay.core.forwards import Desired
from relay.events import Events
from relay.io.local import EVERY_ADDRESS, LOOPBACK, addresses_of, listen, listen_unix
from relay.life.running import Trouble
from relay.opener.config import ConnectConfig
from relay.opener.dynamic import DynamicForward
from relay.opener.gate import Gate
from relay.opener.local import LocalForward
from relay.ssh.client import ClientLeg


class Listeners:
    """The `Maker` of what `relay-connect` opens. A leg takes nothing along when it is lost."""

    def __init__(self, config: ConnectConfig, gate: Gate[ClientLeg], events: Events) -> None:
        self._config = config
        self._gate = gate
        self._events = events
        self._open: dict[Forward, LocalForward | DynamicForward] = {}
        # There has been a leg. Before that nobody is told that a port is ready.
        self._ready = False

    async def ask(self, desired: Desired[Forward], granted: Callable[[int], None]) -> None:
        """Raises `AddressError`."""
        forward = desired.key
        sockets = listening_sockets(self._config, forward)
        kind = DynamicForward if forward.dynamic else LocalForward
        opened = self._open[forward] = kind(self._gate, forward, sockets, self._events)
        granted(0 if forward.listen_path else sockets[0].getsockname()[1])
        if self._ready:
            opened.say_ready()

    async def cancel(self, desired: Desired[Forward]) -> None:
        opened = self._open.pop(desired.key)
        opened.close()
        opened.say_closed()

    def say_ready(self) -> None:
        """There is a leg for the first time."""
        self._ready = True
        for opened in self._open.values():
            opened.say_ready()

    def trouble(self, forward: Forward) -> Trouble | None:
        """What was the matter with its last stream. (`-D` has no one target.)"""
        opened = self._open.get(forward)
        return opened.trouble if isinstance(opened, LocalForward) else None

    def close(self) -> None:
        """Accept no more."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()


def listening_sockets(config: ConnectConfig, forward: Forward) -> list[socket.socket]:
    """The sockets that a forward listens on. Raises `AddressError`."""
    if forward.listen_path:
        mask, unlink = config.stream_local_bind_mask, config.stream_local_bind_unlink
        return [listen_unix(forward.listen_path, mask=mask, unlink=unlink)]
    default = EVERY_ADDRESS if config.gateway_ports else LOOPBACK
    family = config.client.address_family
    return listen(addresses_of(forward.bind, default=default, family=family), forward.port)
