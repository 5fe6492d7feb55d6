"""The services that agents have published, and who holds each.

The bind address of a `tcpip-forward` tells two kinds apart:

* an address (`localhost`, an IP literal, `*` or nothing) asks for a real port of this machine: a
  port service, known by its port number;
* any other name asks for a named service, known by name and port. No port is opened for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from relay.errors import LocalError
from relay.policy.forward import MAX_PORT, format_address
from relay.policy.patterns import parse_ip

MAX_NAME_BYTES: Final = 255
"""The longest host name of RFC 1035 §2.3.4: a stock ssh must be able to pass on any name."""

FORBIDDEN_IN_NAMES: Final = frozenset(':/[]*?!,"\\')
"""Characters that a forward or a `permitopen` cannot hold, or would read as a pattern."""

Holder = TypeVar("Holder")
_Key = tuple[str, int]


class ServiceError(LocalError):
    """A service cannot be published; the text says why."""


class ServiceHeld(ServiceError):
    """Someone has published this service already: `service`, by `service.holder`."""

    def __init__(self, service: Service[Any]) -> None:
        super().__init__(f"{service} is already published by {service.holder}")
        self.service = service


@dataclass(frozen=True, slots=True, eq=False)
class Service(Generic[Holder]):
    """One published service. Two that look alike are not the same: each has its own life."""

    bind: str
    """The address as the agent sent it: `forwarded-tcpip` must repeat it (RFC 4254 §7.2)."""
    port: int
    """1 to 65535: the port in truth, where 0 was asked for."""
    holder: Holder
    named: bool

    def __str__(self) -> str:
        return format_address(self.bind or "*", self.port)


class Registry(Generic[Holder]):
    """Every service that is published now. `Holder` is who publishes; its str() is shown."""

    def __init__(self) -> None:
        self._services: dict[_Key, Service[Holder]] = {}

    def publish(self, bind: str, port: int, holder: Holder) -> Service[Holder]:
        """Enter a service for its holder.

        A request for port 0 must have got its real port before it comes here.

        Raises:
            ServiceHeld: it is published already, be it by the same holder.
            ServiceError: the name or the port cannot be one of a service.
        """
        named = not is_address(bind)
        if named:
            validate_name(bind)
        if not 1 <= port <= MAX_PORT:
            raise ServiceError(f"a service needs a port from 1 to {MAX_PORT}, not {port}")
        held = self.at(bind, port)
        if held is not None:
            raise ServiceHeld(held)
        service = Service(bind, port, holder, named)
        self._services[_key(bind, port)] = service
        return service

    def withdraw(self, service: Service[Holder]) -> None:
        """Remove a service; no effect if it is gone, even if another has taken its place."""
        key = _key(service.bind, service.port)
        if self._services.get(key) is service:
            del self._services[key]

    def withdraw_all(self, holder: Holder) -> list[Service[Holder]]:
        """Remove and return all services of a holder, in the order of their publication."""
        services = self.held_by(holder)
        for service in services:
            self.withdraw(service)
        return services

    def held_by(self, holder: Holder) -> list[Service[Holder]]:
        """All services of this very holder, in the order of their publication."""
        return [service for service in self._services.values() if service.holder is holder]

    def at(self, bind: str, port: int) -> Service[Holder] | None:
        """The service that a `tcpip-forward` or `cancel-tcpip-forward` for this would mean."""
        return self._services.get(_key(bind, port))

    def find(self, host: str, port: int) -> Service[Holder] | None:
        """The service that a `direct-tcpip` to this host and port reaches.

        A port service is reached as this machine's loopback, which is what a client of a stock
        sshd would write, however it is bound.
        """
        if is_address(host) and not _is_this_machine(host):
            return None
        return self.at(host, port)


def is_address(bind: str) -> bool:
    """Whether a bind address means a port of this machine, not a named service."""
    return bind in ("", "*") or bind.lower() == "localhost" or parse_ip(bind) is not None


def validate_name(name: str) -> None:
    """Check the name of a named service.

    Raises:
        ServiceError: it is too long, has an empty label, or a character that could be
            misread in a log, in a forward or in a key's options.
    """
    shown = ascii(name if len(name) <= MAX_NAME_BYTES else name[:MAX_NAME_BYTES] + "…")
    # isprintable() also keeps out the lone surrogates that encode() would raise for.
    if not name.isprintable() or " " in name or FORBIDDEN_IN_NAMES & set(name):
        raise ServiceError(f"{shown} has a character that the name of a service cannot have")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ServiceError(f"{shown} has more than {MAX_NAME_BYTES} bytes")
    if not all(name.split(".")):
        raise ServiceError(f"{shown} has an empty part")


def _key(bind: str, port: int) -> _Key:
    """Port services are told apart by port alone.

    `localhost`, `127.0.0.1`, `::1` and `*` may or may not meet in one socket, as GatewayPorts and
    the system's settings have it; a client that opens `localhost:2000` must not reach one agent
    or another by such chances.
    """
    return ("", port) if is_address(bind) else (bind.lower(), port)


def _is_this_machine(host: str) -> bool:
    ip = parse_ip(host)
    # None: "localhost", "*" or "".
    return ip is None or ip.is_loopback or ip.is_unspecified
