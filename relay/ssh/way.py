"""The way to a host, before there is SSH on it: a channel, a command, a proxy, or just a socket."""

from __future__ import annotations

import socket

from relay.core.forward import format_address
from relay.errors import LegLost, PeerError
from relay.io.dial import FAMILIES, dial
from relay.io.http_proxy import dial_through
from relay.io.nested import NestedStream
from relay.io.proxy import ProxyCommand
from relay.ssh.leg import Leg
from relay.sshconfig.client import ClientConfig
from relay.wire.messages import tcpip_fields

HERE = "127.0.0.1"
"""Where a stream through a jump host is said to come from, as ssh says it."""

DIAL_TIMEOUT = 15
"""Seconds for the TCP connection to one address of B, and for a proxy's answer. The kernel knocks
after 0, 1, 3 and 7 s and then at ever longer intervals for two minutes; who knocks anew meets a B
that is back sooner."""


async def reach(
    config: ClientConfig, via: Leg | None
) -> tuple[socket.socket | NestedStream, ProxyCommand | None]:
    """A way that leads to the host: a channel of `via`, a command's input and output, a socket.

    Raises `PeerError` or `LocalError`.
    """
    where = format_address(config.host, config.port)
    if via is not None:
        try:
            stream = NestedStream(via)
            await stream.open(b"direct-tcpip", tcpip_fields(config.host, config.port, HERE, 0))
        except PeerError as error:
            raise type(error)(f"cannot connect to {where} through the jump host: {error}") from None
        return stream, None
    if config.proxy_command:
        command = ProxyCommand(config.proxy_command)
        return command.sock, command
    return await _dial(config, where), None


async def _dial(config: ClientConfig, where: str) -> socket.socket:
    async def dial_from_here(host: str, port: int) -> socket.socket:
        sock = await dial(
            host, port, family=FAMILIES[config.address_family], bind_address=config.bind_address,
            seconds_each=DIAL_TIMEOUT,
        )  # fmt: skip
        if config.tcp_keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    proxy = config.http_proxy
    try:
        if proxy is None:
            return await dial_from_here(config.host, config.port)
        where += f" through the proxy {proxy.where}"
        return await dial_through(proxy, config.host, config.port, dial_from_here, DIAL_TIMEOUT)
    except OSError as error:
        raise LegLost(f"cannot connect to {where}: {error.strerror or error}") from None
    except PeerError as error:
        raise type(error)(f"cannot connect to {where}: {error}") from None
