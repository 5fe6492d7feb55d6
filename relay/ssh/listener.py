"""The ports that a serving side opens for `tcpip-forward` (OpenSSH's GatewayPorts)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from relay.core.channel import Half
from relay.core.traffic import Traffic
from relay.errors import AddressError
from relay.events import Events
from relay.events.server import PortStreamClosed
from relay.io.descriptors import SPARE_FOR_LEGS, scarce
from relay.io.endpoint import Endpoint, tell_end
from relay.io.local import EVERY_ADDRESS, LOOPBACK, Acceptor, addresses_of, listen
from relay.ssh.patience import Patience
from relay.ssh.server import ServerLeg
from relay.sshconfig.client import GatewayPorts
from relay.wire.messages import tcpip_fields


def listening_addresses(bind: str, gateway_ports: GatewayPorts) -> tuple[str, ...]:
    """Where a `tcpip-forward` for `bind` listens, by GatewayPorts of sshd_config(5)."""
    if gateway_ports == "no":
        return LOOPBACK
    if gateway_ports == "yes":
        return EVERY_ADDRESS
    return addresses_of(bind)


class Visitor(Endpoint):
    """A connection to an open port: it waits for the agent's answer, but not for ever."""

    def __init__(
        self,
        leg: ServerLeg,
        ended: Callable[[Endpoint, str], None],
        traffics: tuple[Traffic, ...],
    ) -> None:
        super().__init__(leg, ended)
        self._patience = Patience(leg, self.give_up)
        # Whose stream it is; nobody's once it is over.
        self.traffics = traffics
        # The number of the agent's leg.
        self.agent = leg.number
        # What of its bytes is settled: received, and sent.
        self._settled = (0, 0)
        for traffic in traffics:
            traffic.begun()

    def begin(self, sock: socket.socket, fields: bytes) -> None:
        """Ask the agent for the stream."""
        self.open(sock, b"forwarded-tcpip", fields)

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self._patience.answered()
        super().confirmed(sender, window, packet)

    def failed(self, code: int, reason: str) -> None:
        self._patience.answered()
        super().failed(code, reason)

    def end(self, reason: str) -> bool:
        """Break it off, once it is open. Returns whether it was."""
        if self.channel.sending is Half.WAITING or self.over:
            return False
        self.local_lost(reason)
        return True

    def leg_lost(self) -> None:
        self._patience.answered()
        super().leg_lost()

    @property
    def number(self) -> tuple[int, int]:
        """That of the agent's leg, since of its opener there is none, and that of its channel."""
        return self.agent, self.channel.local_id

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes there, to the service, and back."""
        return self.sent_bytes, self.received_bytes

    @property
    def waiting(self) -> int:
        """Bytes that we hold, for either side."""
        return len(self._pending) + self.out.waiting_for(self.channel)

    def settle(self) -> None:
        """Count what it has moved until now with the traffic of its leg and its service."""
        received, sent = self.received_bytes, self.sent_bytes
        more_received, more_sent = received - self._settled[0], sent - self._settled[1]
        self._settled = received, sent
        for traffic in self.traffics:
            traffic.moved(more_received, more_sent)

    def _ended_for(self, reason: str) -> None:
        self.settle()
        traffics, self.traffics = self.traffics, ()
        for traffic in traffics:
            traffic.ended()
        super()._ended_for(reason)


class Listener:
    """One open port: each connection to it is a stream on the leg that asked for it."""

    def __init__(
        self, leg: ServerLeg, bind: str, port: int, gateway_ports: GatewayPorts, events: Events
    ) -> None:
        """Raises `AddressError`. Port 0 picks one, which is `port` then."""
        self._leg = leg
        self._bind = bind
        sockets = listen(listening_addresses(bind, gateway_ports), port)
        if self._scarce(sockets[-1]):
            for sock in sockets:
                sock.close()
            raise AddressError("there are too few descriptors left")
        self.port: int = sockets[0].getsockname()[1]
        # Whose its streams are; whoever counts them sets it.
        self.traffics: tuple[Traffic, ...] = ()
        self._ended = tell_end(events, partial(PortStreamClosed, port=self.port))
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        if not self._leg.alive or self._leg.full(serving=True) or self._scarce(sock):
            sock.close()
            return
        fields = tcpip_fields(self._bind, self.port, *origin)
        Visitor(self._leg, self._ended, self.traffics).begin(sock, fields)

    def _scarce(self, sock: socket.socket) -> bool:
        short = scarce(sock, SPARE_FOR_LEGS)
        if short:
            self._leg.limit_hit("descriptors")
        return short

    def close(self) -> None:
        """Accept no more; streams that are open go on."""
        for acceptor in self._acceptors:
            acceptor.close()
