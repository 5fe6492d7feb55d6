"""Where `--http` listens, and who may look there.

Whoever reaches a loopback address or a unix socket is on this machine; anywhere else a token is
asked for.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from relay.control.claim import ControlSocket
from relay.control.claim import listen as claim
from relay.core.patterns import parse_ip
from relay.errors import FileError, UsageError
from relay.io.local import addresses_of, listen
from relay.trust.secret import read_password
from relay.web.limits import LEAST_TOKEN

Address = Path | tuple[str, int]

NEEDS_TOKEN: Final = (
    "--http {where}: not a loopback address, and so anybody could look: give one, the path of a "
    "unix socket, or --http-token-file"
)


def read_token(path: Path) -> bytes:
    """Raises `FileError`."""
    token = read_password(path)
    if len(token) < LEAST_TOKEN:
        raise FileError(path, f"a token has at least {LEAST_TOKEN} characters: it could be guessed")
    return token.encode(errors="surrogateescape")


class Listening:
    """The open sockets of one `--http`."""

    def __init__(self, sockets: list[socket.socket], claimed: ControlSocket | None = None) -> None:
        self.sockets = sockets
        self._claimed = claimed

    def close(self) -> None:
        """Again is nothing."""
        if self._claimed is not None:
            with suppress(OSError):
                self._claimed.close()
        for sock in self.sockets:
            sock.close()


async def open_address(address: Address, *, has_token: bool) -> Listening:
    """Raises `AddressError`; `UsageError` where a token is missing."""
    if isinstance(address, Path):
        claimed = await claim(address)
        return Listening([claimed.sock], claimed)
    host, port = address
    listening = Listening(listen(addresses_of(host), port))
    for sock in listening.sockets:
        where = sock.getsockname()[0]
        if not has_token and not is_loopback(where):
            listening.close()
            raise UsageError(NEEDS_TOKEN.format(where=where))
    return listening


def is_loopback(where: str) -> bool:
    """`localhost`, or a literal address of this machine alone."""
    ip = parse_ip(where)
    return ip.is_loopback if ip is not None else where.lower() == "localhost"
