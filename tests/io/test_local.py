"""Local sockets: who is on this machine, and what that spares."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from relay.io.local import NO_PACING, spare_pacing

CONGESTION = getattr(socket, "TCP_CONGESTION", None)
pytestmark = pytest.mark.skipif(CONGESTION is None, reason="Linux's TCP_CONGESTION")


class FakeSocket:
    """A connected socket, as far as `spare_pacing` asks."""

    def __init__(self, ours: str, peer: str, *, permitted: bool = True) -> None:
        self.family = socket.AF_INET6 if ":" in ours else socket.AF_INET
        self.chosen: list[Any] = []
        self._ours = ours
        self._peer = peer
        self._permitted = permitted

    def getsockname(self) -> tuple[str, int]:
        return self._ours, 50000

    def getpeername(self) -> tuple[str, int]:
        if not self._peer:
            raise OSError("not connected")
        return self._peer, 8000

    def setsockopt(self, *option: Any) -> None:
        if not self._permitted:
            raise PermissionError("not permitted")
        self.chosen.append(option)


@pytest.mark.parametrize(
    ("ours", "peer", "spared"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.5", "", False),
    ],
)
def test_only_a_peer_on_this_machine_is_spared_pacing(ours: str, peer: str, spared: bool) -> None:
    sock: Any = FakeSocket(ours, peer)
    spare_pacing(sock)
    assert sock.chosen == ([(socket.IPPROTO_TCP, CONGESTION, NO_PACING)] if spared else [])


def test_where_it_is_not_permitted_the_stream_goes_on() -> None:
    sock: Any = FakeSocket("::1", "::1", permitted=False)
    spare_pacing(sock)
    assert not sock.chosen


def test_every_linux_has_it() -> None:
    assert CONGESTION is not None
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        spare_pacing(sock)
        chosen = sock.getsockopt(socket.IPPROTO_TCP, CONGESTION, 16)
    assert chosen.rstrip(b"\0") == NO_PACING


def test_a_unix_socket_has_no_congestion_control() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spare_pacing(ours)
