"""The services that agents have published, and who holds each.

The bind address of a `tcpip-forward` tells two kinds apart:

* an address (`localhost`, an IP literal, `*` or nothing) asks for a real port of this machine: a
  port service, known by its port number;
* any other name asks for a named service, known by name and port. No port is opened for it.

A name behind a `+` (`+gpu1`) asks for a share of a named service: whoever else asks so for the same
name publishes it too, and streams go to one of them. That is all the request says, so that
`ssh -R +gpu1:8000:localhost:8000` can ask for it as well as `relay-agent --share`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from relay.core.forward import MAX_PORT, format_address
from relay.core.patterns import parse_ip
from relay.errors import LocalError

MAX_NAME_BYTES: Final = 255
"""The longest host name of RFC 1035 §2.3.4: a stock ssh must be able to pass on any name."""

FORBIDDEN_IN_NAMES: Final = frozenset(':/[]*?!,"\\')
"""Characters that a forward or a `permitopen` cannot hold, or would read as a pattern."""

FIRST_UNPRIVILEGED: Final = 1024
"""IPPORT_RESERVED: a port below speaks for the machine, since only root could open it."""

SHARE_MARK: Final = "+"
"""Before a name: together with others. No host name begins with it."""

NOT_PUBLISHED: Final = "no such service is published"
GOODBYE: Final = "the relay is stopping"
"""`OpenFailure.NOT_PUBLISHED` and `STOPPING`, in words for people."""

Holder = TypeVar("Holder")
ServiceKey = tuple[str, int]
"""What tells services apart: `service_key`."""


class ServiceRefusal(StrEnum):
    """Why an agent may not publish a service. The names are for programs, and stay; the sentences
    are for people, at B and at the agent: none says more than that its own key may not have it."""

    NO_RIGHT = "this key may not publish it (permitlisten)"
    NO_FORWARDING = "this key may not publish it, nor anything (restrict, no-port-forwarding)"
    NO_PORT = "there is no such port"
    PRIVILEGED = "no permitlisten of this key has this port below 1024 (--privileged-ports)"
    NOT_SHARED = "services of this name are not shared here (--share-services)"
    MAY_NOT_SHARE = "no permitlisten of this key names it, which sharing needs"
    STOPPING = GOODBYE
    INSIDE = "the relay itself has a service of this name"
    HELD = "a program with another key has it"
    TWICE = "this very connection has it already"
    YOUNGER = "a program with the same key that was started later has it"
    TOO_MANY = "this key has published as many as it may (--services-per-key)"
    TAKEN_AWAY = "the operator of the relay has taken it away"
    UNUSABLE = "there cannot be such a service"


class ServiceError(LocalError):
    """A service cannot be published; the text says why."""


class ServiceHeld(ServiceError):
    """Someone has published this service already, and not to be shared with us: `service`, by
    `service.holder`."""

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
    shared: bool = False

    def __str__(self) -> str:
        return format_address(unmarked(self.bind) or "*", self.port)


class Registry(Generic[Holder]):
    """Every service that is published now. `Holder` is who publishes; its str() is shown."""

    def __init__(self) -> None:
        # More than one service at a key: all are shared, each by another holder. Never none.
        self._services: dict[ServiceKey, list[Service[Holder]]] = {}
        # The same by the id() of their holder, which may equal another: what is asked when one of
        # ten thousand legs comes or goes must not go through all of them. Never an empty one.
        self._by_holder: dict[int, dict[Service[Holder], None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Service[Holder]]:
        """All services in the order of their publication; those of one name stand together."""
        for services in self._services.values():
            yield from services

    def publish(self, bind: str, port: int, holder: Holder) -> Service[Holder]:
        """Enter a service for its holder.

        A request for port 0 must have got its real port before it comes here.

        Raises:
            ServiceHeld: it is published already, be it by the same holder.
            ServiceError: the name or the port cannot be one of a service.
        """
        name = unmarked(bind)
        shared = name != bind
        if not is_address(name):
            validate_name(name)
        elif shared:
            raise ServiceError("only a service with a name can be shared")
        if not 1 <= port <= MAX_PORT:
            raise ServiceError(f"a service needs a port from 1 to {MAX_PORT}, not {port}")
        for held in self.all_at(bind, port):
            if not (shared and held.shared) or held.holder is holder:
                raise ServiceHeld(held)
        service = Service(bind, port, holder, shared)
        self._services.setdefault(service_key(bind, port), []).append(service)
        self._by_holder.setdefault(id(holder), {})[service] = None
        self._count += 1
        return service

    def withdraw(self, service: Service[Holder]) -> None:
        """Remove a service; no effect if it is gone, even if another has taken its place."""
        key = service_key(service.bind, service.port)
        services = self._services.get(key, [])
        if service not in services:
            return
        services.remove(service)
        if not services:
            del self._services[key]
        held = self._by_holder[id(service.holder)]
        del held[service]
        if not held:
            del self._by_holder[id(service.holder)]
        self._count -= 1

    def withdraw_all(self, holder: Holder) -> list[Service[Holder]]:
        """Remove and return all services of a holder, in the order of their publication."""
        services = self.held_by(holder)
        for service in services:
            self.withdraw(service)
        return services

    def held_by(self, holder: Holder) -> list[Service[Holder]]:
        """All services of this very holder, in the order of their publication."""
        return list(self._by_holder.get(id(holder), ()))

    def all_at(self, bind: str, port: int) -> tuple[Service[Holder], ...]:
        """The services that a `tcpip-forward` or `cancel-tcpip-forward` for this would mean: more
        than one if they are shared."""
        return tuple(self._services.get(service_key(bind, port), ()))

    def at(self, bind: str, port: int) -> Service[Holder] | None:
        """The first of them."""
        return next(iter(self.all_at(bind, port)), None)

    def has(self, key: ServiceKey) -> bool:
        """Is anything published there?"""
        return key in self._services

    def find_all(self, host: str, port: int) -> tuple[Service[Holder], ...]:
        """The services that a `direct-tcpip` to this host and port may reach."""
        key = wanted_key(host, port)
        return tuple(self._services.get(key, ())) if key is not None else ()


def key_address(key: ServiceKey) -> str:
    """For a person: `gpu1:8000`, and `localhost:2000` for a port service."""
    name, port = key
    return format_address(name or "localhost", port)


def unmarked(bind: str) -> str:
    """The name or address without the mark of a share."""
    return bind.removeprefix(SHARE_MARK)


def is_address(bind: str) -> bool:
    """Whether a bind address means a port of this machine, not a named service."""
    return bind in ("", "*") or bind.lower() == "localhost" or parse_ip(bind) is not None


def is_privileged(bind: str, port: int) -> bool:
    """Whether this asks for a real port that only root may open. (0: the system picks one, and
    takes none of these.)"""
    return is_address(bind) and 0 < port < FIRST_UNPRIVILEGED


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
    if name.startswith(SHARE_MARK):
        raise ServiceError(f"{shown} begins with {SHARE_MARK}, which is no part of a name")
    if not all(name.split(".")):
        raise ServiceError(f"{shown} has an empty part")


def service_key(bind: str, port: int) -> ServiceKey:
    """What two requests for the same service have in common.

    Port services are told apart by port alone. `localhost`, `127.0.0.1`, `::1` and `*` may or may
    not meet in one socket, as GatewayPorts and the system's settings have it; a client that opens
    `localhost:2000` must not reach one agent or another by such chances.
    """
    bind = unmarked(bind)
    return ("", port) if is_address(bind) else (bind.lower(), port)


def wanted_key(host: str, port: int) -> ServiceKey | None:
    """The key of the service that a `direct-tcpip` to this host and port means, if it can be one.

    A port service is reached as this machine's loopback, which is what a client of a stock sshd
    would write, however it is bound.
    """
    if host.startswith(SHARE_MARK) or (is_address(host) and not _is_this_machine(host)):
        return None
    return service_key(host, port)


def _is_this_machine(host: str) -> bool:
    ip = parse_ip(host)
    # None: "localhost", "*" or "".
    return ip is None or ip.is_loopback or ip.is_unspecified
