"""`relay-agent` as a program: dial B, publish, and dial the service for each stream."""

from __future__ import annotations

import asyncssh

from relay.agent.config import AgentConfig
from relay.errors import Refused
from relay.log import EventLog
from relay.policy.forward import Forward, format_address
from relay.ssh.client import ClientLeg, connect, explain
from relay.ssh.endpoint import Endpoint
from relay.ssh.local import dial


async def run(config: AgentConfig, log: EventLog) -> None:
    """Publish until cancelled or until the leg is lost. Raises `RelayError`."""
    leg = await connect(config.client, log)
    try:
        agent = Agent(leg, log)
        for forward in config.remote_forwards:
            await agent.publish(forward)
        await leg.down.wait()
        raise explain(leg.error or ConnectionError("connection closed"), config.client)
    finally:
        leg.close()


class Agent:
    """What is published over one leg."""

    def __init__(self, leg: ClientLeg, log: EventLog) -> None:
        self._leg = leg
        self._log = log
        # By what B says in `forwarded-tcpip`: the address as we asked for it, and the port.
        self._targets: dict[tuple[str, int], Forward] = {}
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
        self._targets[bind, port] = forward
        self._log.info(
            "published", "{service} -> {target} published",
            service=format_address(forward.bind or bind or "*", port), target=forward.target,
        )  # fmt: skip

    def _stream(self, host: str, port: int, origin_host: str, origin_port: int) -> Endpoint:
        forward = self._targets.get((host, port))
        if forward is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, f"{format_address(host, port)} is not published here"
            )
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

        endpoint = Endpoint(self._leg, ended)
        endpoint.serve(lambda: dial(forward.host, forward.hostport))
        return endpoint


def requested_address(forward: Forward) -> str:
    """What ssh sends for `-R`'s bind address (RFC 4254 §7.1): `localhost` where none is given,
    the empty string for `*`."""
    if forward.bind is None:
        return "localhost"
    return "" if forward.bind == "*" else forward.bind
