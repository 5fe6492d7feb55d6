"""`relay-server` as a program: its keys, its listening ports, and its end."""

from __future__ import annotations

import socket

import anyio
import anyio.lowlevel

from relay.log import EventLog
from relay.server.config import ServerConfig
from relay.server.relay import Relay
from relay.ssh.hostkeys import HostKey, fingerprint, load_host_key, load_or_create_host_key
from relay.ssh.local import Acceptor, listen, name_of

HOST_KEY_NAME = "ssh_host_ed25519_key"


async def run(config: ServerConfig, log: EventLog) -> None:
    """Serve until cancelled. Raises `LocalError` when it cannot begin."""
    relay = Relay(config, load_host_keys(config, log), log)
    sockets: list[socket.socket] = []
    acceptors: list[Acceptor] = []
    try:
        for host, port in config.listen:
            sockets += listen([host or "0.0.0.0"], port)
        for sock in sockets:
            acceptors.append(Acceptor(sock, relay.accept))
            log.info("listening", "listening on {address}", address=name_of(sock))
        await anyio.sleep_forever()
    finally:
        for acceptor in acceptors:
            acceptor.close()
        relay.close()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()  # The legs' last words leave in this turn.
        for sock in sockets:
            sock.close()


def load_host_keys(config: ServerConfig, log: EventLog) -> list[HostKey]:
    """The keys by which clients know this B; the first start makes one."""
    if config.host_keys:
        keys = [load_host_key(path) for path in config.host_keys]
    else:
        path = config.state_dir / HOST_KEY_NAME
        key, created = load_or_create_host_key(path)
        keys = [key]
        if created:
            log.info("host key made", "made a host key: {path}", path=str(path))
    for key in keys:
        log.info(
            "host key", "host key {fingerprint} ({kind})",
            fingerprint=fingerprint(key), kind=key.get_algorithm(),
        )  # fmt: skip
    return keys
