"""`relay-connect` as a program: dial B, open local ports, and a channel for each connection."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from relay.connect.config import ConnectConfig
from relay.connect.dynamic import DynamicForward
from relay.connect.stdio import run_stdio
from relay.errors import AddressError
from relay.log import EventLog
from relay.policy.forward import Forward
from relay.ssh.client import ClientLeg, connect, explain
from relay.ssh.endpoint import Endpoint
from relay.ssh.hostkeys import fingerprint
from relay.ssh.local import (
    EVERY_ADDRESS,
    LOOPBACK,
    Acceptor,
    addresses_of,
    listen,
    listen_unix,
    name_of,
)
from relay.wire.messages import streamlocal_fields, tcpip_fields


async def run(config: ConnectConfig, log: EventLog) -> None:
    """Forward until cancelled or until the leg is lost. Raises `RelayError`."""
    leg = await connect(config.client, log)
    with ExitStack() as stack:
        stack.callback(leg.close)
        if config.stdio_forward is not None:
            await run_stdio(leg, *config.stdio_forward)
            return
        say_who_can_read(leg, config, log)
        for forward in config.local_forwards + config.dynamic_forwards:
            kind = DynamicForward if forward.dynamic else LocalForward
            try:
                local = kind(leg, forward, listening_sockets(config, forward), log)
            except AddressError as error:
                if config.exit_on_forward_failure:
                    raise
                log.error("not ready", "{reason}", reason=str(error))
            else:
                stack.callback(local.close)
        await leg.down.wait()
        raise explain(leg.error or ConnectionError("connection closed"), config.client)


def say_who_can_read(leg: ClientLeg, config: ConnectConfig, log: EventLog) -> None:
    """Which of the two it is must be plain to see: a session that ends at the service's machine,
    or one that B opens and seals anew."""
    if leg.via is not None:
        key = leg.get_server_host_key()
        log.info(
            "end to end", "end to end to {host} ({fingerprint})",
            host=config.client.host, fingerprint=fingerprint(key) if key else "no key",
        )  # fmt: skip
    else:
        log.info("relayed", "relayed by {host}, which can read it", host=config.client.host)


def listening_sockets(config: ConnectConfig, forward: Forward) -> list[socket.socket]:
    """The sockets that a forward listens on. Raises `AddressError`."""
    if forward.listen_path:
        mask, unlink = config.stream_local_bind_mask, config.stream_local_bind_unlink
        return [listen_unix(forward.listen_path, mask=mask, unlink=unlink)]
    default = EVERY_ADDRESS if config.gateway_ports else LOOPBACK
    family = config.client.address_family
    return listen(addresses_of(forward.bind, default=default, family=family), forward.port)


class LocalForward:
    """One `-L`: its open ports and the streams that come in there."""

    def __init__(
        self, leg: ClientLeg, forward: Forward, sockets: list[socket.socket], log: EventLog
    ) -> None:
        """`sockets` listen, and are the forward's from now on."""
        self._leg = leg
        self._forward = forward
        self._log = log
        self._name = name_of(sockets[0])
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]
        log.info(
            "ready", "{listening} -> {target} ready", listening=self._name, target=forward.target
        )

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        if not self._leg.alive:
            sock.close()
            return
        endpoint = Endpoint(self._leg, self._ended)
        if path := self._forward.target_path:
            endpoint.open(sock, b"direct-streamlocal@openssh.com", streamlocal_fields(path))
        else:
            fields = tcpip_fields(self._forward.host, self._forward.hostport, *origin)
            endpoint.open(sock, b"direct-tcpip", fields)

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
