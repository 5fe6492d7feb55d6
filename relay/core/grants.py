"""What one key may do: publish which services, open which services.

The words and their meaning are those of `permitlisten`, `permitopen` and `port-forwarding` in
sshd(8), AUTHORIZED_KEYS FILE FORMAT. A named service needs no words of its own: to sshd too, the
host in both is just the text that the client sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.core.forward import format_address, parse_port, split_fields
from relay.core.patterns import PatternError, match_pattern


@dataclass(frozen=True, slots=True)
class Permit:
    """One `host:port` of a `permitopen` or `permitlisten`; port None is `*`, any port."""

    host: str
    port: int | None

    def allows_open(self, host: str, port: int) -> bool:
        """As a `permitopen`.

        "No pattern matching or name lookup is performed on the specified hostnames, they must be
        literal host names and/or addresses." A lone `*` is no pattern but any host, as in
        sshd_config(5). Case is ignored, since the names of services ignore it.
        """
        return self._allows_port(port) and self.host in ("*", host.lower())

    def allows_listen(self, bind: str, port: int) -> bool:
        """As a `permitlisten`: "Hostnames may include wildcards".

        The bind address is compared as it was sent: "ssh(1) will send a hostname of `localhost`
        if a listen host was not specified […] this name is treated differently to the explicit
        localhost addresses `127.0.0.1` and `::1`".
        """
        return self._allows_port(port) and match_pattern(bind, self.host)

    def _allows_port(self, port: int) -> bool:
        return self.port is None or self.port == port

    def __str__(self) -> str:
        if self.port is None:
            return f"[{self.host}]:*" if ":" in self.host else f"{self.host}:*"
        return format_address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one key may do. Without an option (None) everything is permitted, with () nothing."""

    permitopen: tuple[Permit, ...] | None = None
    permitlisten: tuple[Permit, ...] | None = None
    port_forwarding: bool = True

    def may_publish(self, bind: str, port: int) -> bool:
        """Whether a `tcpip-forward` for this bind address and port is permitted.

        Port 0 (the server picks one) is permitted only where any port is.
        """
        return self.port_forwarding and (
            self.permitlisten is None
            or any(permit.allows_listen(bind, port) for permit in self.permitlisten)
        )

    def may_share(self, name: str, port: int) -> bool:
        """Whether a named service may be published together with other keys.

        Who shares a service gets a part of the others' visitors, so that no key may by default: a
        `permitlisten` must name it, and `*` alone is no name.
        """
        return self.port_forwarding and any(
            permit.host != "*" and permit.allows_listen(name, port)
            for permit in self.permitlisten or ()
        )

    def may_publish_privileged(self, bind: str, port: int) -> bool:
        """Whether a port below 1024 may be published: sshd does so for root alone. Here a
        `permitlisten` must have its number."""
        return self.port_forwarding and any(
            permit.port is not None and permit.allows_listen(bind, port)
            for permit in self.permitlisten or ()
        )

    def may_open_inside(self, host: str, port: int) -> bool:
        """Whether a service of the server itself may be opened: a `permitopen` must name it,
        and its port. To no key is it open by default, and `*` is neither."""
        return self.port_forwarding and any(
            permit.host != "*" and permit.port is not None and permit.allows_open(host, port)
            for permit in self.permitopen or ()
        )

    def may_open(self, host: str, port: int) -> bool:
        """Whether a `direct-tcpip` to this host and port is permitted."""
        return self.port_forwarding and (
            self.permitopen is None
            or any(permit.allows_open(host, port) for permit in self.permitopen)
        )


def parse_permitopen(value: str) -> tuple[Permit, ...]:
    """Parse the value of one `permitopen`: `host:port`, or `none`, which permits nothing.

    Raises:
        PatternError: the value is neither.
    """
    return () if value == "none" else (_parse_permit(value, wanted="host:port"),)


def parse_permitlisten(value: str) -> tuple[Permit, ...]:
    """Parse the value of one `permitlisten`: `[host:]port`, or `none`, which permits nothing.

    Raises:
        PatternError: the value is neither.
    """
    if value == "none":
        return ()
    # A port alone is for any host, named services included: sshd reads it as "*:port".
    full = value if ":" in value else f"*:{value}"
    return (_parse_permit(full, wanted="[host:]port"),)


def _parse_permit(value: str, wanted: str) -> Permit:
    fields = split_fields(value)
    if fields is None or len(fields) != 2:
        raise PatternError(f"{value!r} is no {wanted} (an IPv6 address stands in brackets)")
    host, port_text = fields
    port = None if port_text == "*" else parse_port(port_text)
    # sshd refuses port 0 here: nobody connects to it, and to ask for it one needs "*".
    if not port and port_text != "*":
        raise PatternError(f"{port_text!r} in {value!r} is no port: give 1 to 65535, or *")
    return Permit(host.lower(), port)
