"""B itself: its legs, what they have published, and what they may do."""

from __future__ import annotations

import asyncio
import socket

from relay.errors import AddressError
from relay.log import EventLog
from relay.policy.forward import MAX_PORT, format_address
from relay.policy.services import Registry, Service, ServiceError, ServiceHeld, is_address
from relay.server.config import ServerConfig
from relay.server.splices import SplicedStream
from relay.ssh.handler import OpenRefused
from relay.ssh.hostkeys import HostKey
from relay.ssh.keyfile import KeyFile
from relay.ssh.listener import Listener
from relay.ssh.server import ServerLeg, server_options
from relay.wire.messages import tcpip_fields
from relay.wire.numbers import OpenFailure


class Relay:
    """The state of B. Everything in it belongs to one event loop."""

    def __init__(self, config: ServerConfig, host_keys: list[HostKey], log: EventLog) -> None:
        self.config = config
        self.log = log
        path = config.authorized_keys or config.state_dir / "authorized_keys"
        self.key_file = KeyFile(path, log)
        self.key_file.keys()  # Its problems are told now, not at the first login.
        self._registry: Registry[ServerLeg] = Registry()
        self._listeners: dict[Service[ServerLeg], Listener] = {}
        # Every leg whose socket is open, logged in or not.
        self.legs: set[ServerLeg] = set()
        self._options = server_options(host_keys, config.ciphers)

    # -- legs

    def accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A connection came: it is a leg once it has logged in."""
        leg = ServerLeg(asyncio.get_running_loop(), self._options)
        leg.rekey_limit = self.config.rekey_limit
        leg.introduce(self, address)
        self.legs.add(leg)
        try:
            leg.attach(sock)
        except OSError:  # It was reset before it was accepted.
            self.legs.discard(leg)
            sock.close()

    def leg_up(self, leg: ServerLeg) -> None:
        """A client has logged in."""
        self.log.info(
            "leg up",
            "leg up: {who} as {user} from {peer}, {client}, {cipher}",
            who=leg.who,
            user=leg.get_extra_info("username", ""),
            peer=leg.peer,
            client=leg.get_extra_info("client_version", ""),
            cipher=leg.get_extra_info("send_cipher", ""),
        )

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        """A connection is gone, and with it what it published."""
        self.legs.discard(leg)
        self._withdraw_all(leg, "its leg is down")
        self.log.info(
            "leg down" if leg.logged_in else "login failed",
            "leg down: {who} from {peer}{why}" if leg.logged_in else "{peer} did not log in{why}",
            who=leg.who,
            peer=leg.peer,
            why=f": {error}" if error and str(error) else "",
        )

    # -- services

    def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """C's `tcpip-forward` (RFC 4254 §7.1). Returns the service's port, None if refused."""
        wanted = format_address(bind, port)
        entry = leg.entry
        if entry is None or not entry.grant.may_publish(bind, port):
            self._refuse_service(leg, wanted, "its key may not publish it")
            return None
        if port > MAX_PORT:
            self._refuse_service(leg, wanted, "there is no such port")
            return None
        self._take_over(leg, bind, port)
        try:
            service = self._enter(leg, bind, port)
        except (ServiceError, AddressError) as error:
            self._refuse_service(leg, wanted, str(error))
            return None
        self.log.info(
            "service published", "{service} published by {leg}",
            service=str(service), leg=str(leg),
        )  # fmt: skip
        return service.port

    def _enter(self, leg: ServerLeg, bind: str, port: int) -> Service[ServerLeg]:
        """Enter a service, and open its port if it is one with a port."""
        held = self._registry.at(bind, port)
        if held is not None:
            raise ServiceHeld(held)
        if not is_address(bind):
            return self._registry.publish(bind, port, leg)
        listener = Listener(leg, bind, port, self.config.gateway_ports, self.log)
        try:
            service = self._registry.publish(bind, listener.port, leg)
        except ServiceError:
            listener.close()
            raise
        self._listeners[service] = listener
        return service

    def _take_over(self, leg: ServerLeg, bind: str, port: int) -> None:
        """The same key comes back for what an older leg of its own holds: that leg is dead,
        though B may not have noticed, and must not keep its owner out."""
        held = self._registry.at(bind, port)
        if held is None or held.holder is leg or held.holder.identity != leg.identity:
            return
        older = held.holder
        self.log.info(
            "leg replaced", "{service}: {leg} takes over from {older}",
            service=str(held), leg=str(leg), older=str(older),
        )  # fmt: skip
        self._withdraw_all(older, "taken over")
        older.abort()

    def _withdraw_all(self, leg: ServerLeg, reason: str) -> None:
        for service in self._registry.withdraw_all(leg):
            self._close(service, reason)

    def _refuse_service(self, leg: ServerLeg, wanted: str, reason: str) -> None:
        self.log.warning(
            "service refused", "{service} refused to {leg}: {reason}",
            service=wanted, leg=str(leg), reason=reason,
        )  # fmt: skip

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """C's `cancel-tcpip-forward`. Streams that are open go on."""
        service = self._registry.at(bind, port)
        if service is None or service.holder is not leg:
            return False
        self._registry.withdraw(service)
        self._close(service, "by its agent")
        return True

    def _close(self, service: Service[ServerLeg], reason: str) -> None:
        listener = self._listeners.pop(service, None)
        if listener is not None:
            listener.close()
        self.log.info(
            "service withdrawn", "{service} withdrawn: {reason}",
            service=str(service), reason=reason,
        )  # fmt: skip

    # -- streams

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> object:
        """A's `direct-tcpip` (RFC 4254 §7.2): a splice to the agent that holds the service.

        B never dials anything itself: a relay is no open proxy.
        """
        wanted = format_address(host, port)
        entry = leg.entry
        if entry is None or not entry.grant.may_open(host, port):
            raise self._refuse_stream(leg, wanted, "this key may not open it", permitted=False)
        service = self._registry.find(host, port)
        if service is None or not service.holder.alive:
            raise self._refuse_stream(leg, wanted, "no such service is published")
        fields = tcpip_fields(service.bind, service.port, origin_host, origin_port)
        return SplicedStream(leg, service, fields, self.log).ends[0]

    def _refuse_stream(
        self, leg: ServerLeg, wanted: str, reason: str, *, permitted: bool = True
    ) -> OpenRefused:
        self.log.warning(
            "stream refused", "{service} refused to {leg}: {reason}",
            service=wanted, leg=str(leg), reason=reason,
        )  # fmt: skip
        code = (
            OpenFailure.CONNECT_FAILED if permitted
            else OpenFailure.ADMINISTRATIVELY_PROHIBITED
        )  # fmt: skip
        return OpenRefused(code, f"{wanted}: {reason}")

    def close(self) -> None:
        """Close every leg and every open port."""
        for leg in list(self.legs):
            leg.close()
        for service in list(self._listeners):
            self._close(service, "the relay stops")
