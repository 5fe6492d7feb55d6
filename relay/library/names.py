"""What a caller calls services and addresses, and what the parts call them."""

from __future__ import annotations

import os

from relay.core.forward import (
    MAX_HOST_LENGTH,
    Forward,
    parse_forward,
    parse_port,
    split_fields,
)
from relay.core.services import is_address, unmarked, validate_name
from relay.errors import LocalError, UsageError

LISTEN: str = "give port, host:port, or the path of a unix socket"
SERVICE: str = "give name:port or host:port, such as gpu1:8000, or the path of a unix socket"


def target(service: str) -> Forward:
    """A forward to the service that is to be opened, which listens nowhere yet. Raises
    UsageError."""
    if "/" in service:
        return parse_forward(f"1:[{service}]" if ":" in service else f"1:{service}")
    fields = split_fields(service)
    if fields is None or len(fields) != 2:
        raise UsageError(f"{service!r} is no service: {SERVICE}")
    host, port = fields
    return parse_forward(f"1:[{host}]:{port}")


def listening(listen: str | int | os.PathLike[str], to: Forward | None) -> Forward:
    """A forward from here to a target; None: to what its SOCKS clients say. Raises UsageError."""
    where = os.fspath(listen) if isinstance(listen, os.PathLike) else str(listen)
    host = to.host if to is not None else ""
    hostport = to.hostport if to is not None else 0
    path = to.target_path if to is not None else ""
    if "/" in where:
        at = parse_forward(f"[{where}]" if ":" in where else where, dynamic=True)
        return Forward(None, 0, host, hostport, at.listen_path, path)
    bind, port = _address(where, f"{where!r} is no address to listen on: {LISTEN}")
    return Forward(bind, port, host, hostport, target_path=path)


def published(name: str) -> tuple[str | None, int]:
    """The name or address, and the port, that a service is to be published as. Raises
    UsageError."""
    bind, port = _address(name, f"{name!r} is no service: {SERVICE}, or a port alone")
    plain = unmarked(bind or "")
    if bind and not is_address(plain):
        try:
            validate_name(plain)
        except LocalError as error:
            raise UsageError(str(error)) from None
    return bind, port


def _address(text: str, wrong: str) -> tuple[str | None, int]:
    fields = split_fields(text)
    if fields is None or len(fields) > 2 or (port := parse_port(fields[-1])) is None:
        raise UsageError(wrong)
    bind = fields[0] if len(fields) == 2 else None
    if bind is not None and (len(bind) > MAX_HOST_LENGTH or not bind.isprintable() or " " in bind):
        raise UsageError(wrong)
    return bind, port
