"""`relay-connect` as a program: dial B, open local ports, and a channel for each connection."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from relay.connect.config import ConnectConfig
from relay.log import EventLog
from relay.policy.forward import Forward
from relay.ssh.client import ClientLeg, connect, explain
from relay.ssh.endpoint import Endpoint
from relay.ssh.local import EVERY_ADDRESS, LOOPBACK, Acceptor, addresses_of, listen, name_of
from relay.wire.messages import tcpip_fields


async def run(config: ConnectConfig, log: EventLog) -> None:
    """Forward until cancelled or until the leg is lost. Raises `RelayError`."""
    leg = await connect(config.client, log)
    with ExitStack() as stack:
        stack.callback(leg.close)
        for forward in config.local_forwards:
            local = LocalForward(leg, forward, config.gateway_ports, log)
            stack.callback(local.close)
        await leg.down.wait()
        raise explain(leg.error or ConnectionError("connection closed"), config.client)


class LocalForward:
    """One `-L`: its open ports and the streams that come in there."""

    def __init__(
        self, leg: ClientLeg, forward: Forward, gateway_ports: bool, log: EventLog
    ) -> None:
        """Raises `AddressError` when a port is taken."""
        self._leg = leg
        self._forward = forward
        self._log = log
        default = EVERY_ADDRESS if gateway_ports else LOOPBACK
        sockets = listen(addresses_of(forward.bind, default=default), forward.port)
        self._name = name_of(sockets[0])
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]
        log.info(
            "ready", "{listening} -> {target} ready", listening=self._name, target=forward.target
        )

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        if not self._leg.alive:
            sock.close()
            return
        fields = tcpip_fields(self._forward.host, self._forward.hostport, *origin)
        Endpoint(self._leg, self._ended).open(sock, b"direct-tcpip", fields)

    def _ended(self, endpoint: Endpoint, reason: str) -> None:
        level = self._log.warning if reason.startswith("refused") else self._log.debug
        level(
            "stream closed",
            "{listening} -> {target}: stream closed, {sent} bytes there, {received} back{why}",
            listening=self._name, target=self._forward.target,
            sent=endpoint.sent_bytes, received=endpoint.received_bytes,
            why=f": {reason}" if reason else "",
        )  # fmt: skip

    def close(self) -> None:
        """Accept no more."""
        for acceptor in self._acceptors:
            acceptor.close()
