"""`relay-agent` as a program: dial B, publish, and dial the service for each stream."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from relay.agent.config import AgentConfig
from relay.agent.dynamic import SocksExit
from relay.agent.session import PORT as SESSION_PORT
from relay.agent.session import SessionEndpoint
from relay.errors import Refused, UsageError
from relay.log import EventLog
from relay.policy.forward import Forward, format_address
from relay.policy.grants import Permit
from relay.ssh.client import ClientLeg, connect, explain
from relay.ssh.endpoint import Endpoint
from relay.ssh.handler import OpenRefused
from relay.ssh.local import dial, dial_unix
from relay.wire.numbers import OpenFailure

Dial = Callable[[], Awaitable[socket.socket]]


async def run(config: AgentConfig, log: EventLog) -> None:
    """Publish until cancelled or until the leg is lost. Raises `RelayError`."""
    for forward in config.remote_forwards:
        if forward.listen_path:
            raise UsageError(f"-R {forward}: a unix socket on the server's side is not served")
    # Before B is dialled: what is wrong on this machine is told first.
    endpoint = SessionEndpoint(config.endpoint, log) if config.endpoint else None
    leg = await connect(config.client, log)
    try:
        agent = Agent(leg, endpoint, config.permit_remote_open, log)
        if endpoint is not None:
            await agent.publish_endpoint(endpoint)
        for forward in config.remote_forwards:
            try:
                await agent.publish(forward)
            except Refused as error:
                if config.exit_on_forward_failure:
                    raise
                log.error("not published", "{reason}", reason=str(error))
        await leg.down.wait()
        raise explain(leg.error or ConnectionError("connection closed"), config.client)
    finally:
        if endpoint is not None:
            endpoint.close()
        leg.close()


class Agent:
    """What is published over one leg."""

    def __init__(
        self,
        leg: ClientLeg,
        endpoint: SessionEndpoint | None,
        permits: tuple[Permit, ...] | None,
        log: EventLog,
    ) -> None:
        """`permits` is PermitRemoteOpen."""
        self._leg = leg
        self._endpoint = endpoint
        self._permits = permits
        self._log = log
        # By what B says in `forwarded-tcpip`: the address as we asked for it, and the port.
        self._targets: dict[tuple[str, int], tuple[Forward, Dial]] = {}
        leg.stream_handler = self._stream

    async def publish(self, forward: Forward) -> None:
        """Ask B for the service, and say so. Raises `Refused`."""
        bind = requested_address(forward)
        port = await self._leg.publish(bind, forward.port)
        if port is None:
            raise Refused(
                f"{format_address(forward.bind or 'localhost', forward.port)}: refused by the "
                "server: it is held by another key, or this key may not publish it"
            )
        service = format_address(forward.bind or bind or "*", port)
        self._targets[bind, port] = forward, self._dial(forward, service)
        self._log.info(
            "published", "{service} -> {target} published", service=service, target=forward.target
        )

    def _dial(self, forward: Forward, service: str) -> Dial:
        """How the target of a stream is reached."""
        if forward.dynamic:
            return SocksExit(service, self._permits, self._log).dial
        if forward.target_path:
            return lambda: dial_unix(forward.target_path)
        return lambda: dial(forward.host, forward.hostport)

    async def publish_endpoint(self, endpoint: SessionEndpoint) -> None:
        """Publish the agent's own SSH server. Raises `Refused`."""
        name = endpoint.config.name
        if await self._leg.publish(name, SESSION_PORT) is None:
            raise Refused(
                f"{name}:{SESSION_PORT}: refused by the server: it is held by another key, or this "
                "key may not publish it"
            )
        self._log.info(
            "published", "{service} -> sessions end to end, published",
            service=format_address(name, SESSION_PORT),
        )  # fmt: skip

    def _stream(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        endpoint = self._endpoint
        if endpoint is not None and (host, port) == (endpoint.config.name, SESSION_PORT):
            return endpoint.stream(self._leg, format_address(origin_host, origin_port))
        target = self._targets.get((host, port))
        if target is None:
            raise OpenRefused(
                OpenFailure.CONNECT_FAILED, f"{format_address(host, port)} is not published here"
            )
        forward, dial_target = target
        service = format_address(forward.bind or host or "*", port)
        origin = format_address(origin_host, origin_port)
        self._log.debug(
            "stream opened", "{service}: stream from {origin} to {target}",
            service=service, origin=origin, target=forward.target,
        )  # fmt: skip

        def ended(endpoint: Endpoint, reason: str) -> None:
            level = self._log.warning if reason.startswith("refused") else self._log.debug
            level(
                "stream closed",
                "{service}: stream from {origin} to {target} closed, {received} bytes in, "
                "{sent} bytes out{why}",
                service=service, origin=origin, target=forward.target,
                received=endpoint.received_bytes, sent=endpoint.sent_bytes,
                why=f": {reason}" if reason else "",
            )  # fmt: skip

        joint = Endpoint(self._leg, ended)
        joint.serve(dial_target)
        return joint


def requested_address(forward: Forward) -> str:
    """What ssh sends for `-R`'s bind address (RFC 4254 §7.1): `localhost` where none is given,
    the empty string for `*`."""
    if forward.bind is None:
        return "localhost"
    return "" if forward.bind == "*" else forward.bind
