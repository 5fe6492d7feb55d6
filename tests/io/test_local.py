"""Local sockets: who is on this machine, and what that spares."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any

import pytest

from relay.errors import AddressError
from relay.io import local
from relay.io.local import NO_PACING, PORT_PICKS, listen, spare_pacing

CONGESTION = getattr(socket, "TCP_CONGESTION", None)
with_congestion = pytest.mark.skipif(CONGESTION is None, reason="Linux's TCP_CONGESTION")


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


@with_congestion
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


@with_congestion
def test_where_it_is_not_permitted_the_stream_goes_on() -> None:
    sock: Any = FakeSocket("::1", "::1", permitted=False)
    spare_pacing(sock)
    assert not sock.chosen


@with_congestion
def test_every_linux_has_it() -> None:
    assert CONGESTION is not None
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        spare_pacing(sock)
        chosen = sock.getsockopt(socket.IPPROTO_TCP, CONGESTION, 16)
    assert chosen.rstrip(b"\0") == NO_PACING


@with_congestion
def test_a_unix_socket_has_no_congestion_control() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spare_pacing(ours)


class Neighbour:
    """Has the port that was just picked at 127.0.0.1, at 127.0.0.2 too, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, times: int) -> None:
        self._listen = local._listen_one
        self._stack = stack
        self._times = times
        self.picked: list[int] = []
        monkeypatch.setattr(local, "_listen_one", self.listen)

    def listen(self, address: str, port: int) -> socket.socket:
        sock = self._listen(address, port)
        if address == "127.0.0.1":
            self.picked.append(sock.getsockname()[1])
            if len(self.picked) <= self._times:
                taken = self._stack.enter_context(socket.socket())
                taken.bind(("127.0.0.2", self.picked[-1]))
                taken.listen()
        return sock


def test_a_port_that_is_picked_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        neighbour = Neighbour(monkeypatch, stack, PORT_PICKS - 1)
        sockets = [stack.enter_context(one) for one in listen(("127.0.0.1", "127.0.0.2"), 0)]
        assert {one.getsockname()[1] for one in sockets} == {neighbour.picked[-1]}
        assert len(neighbour.picked) == PORT_PICKS


def test_where_no_port_is_free_at_every_address_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        neighbour = Neighbour(monkeypatch, stack, PORT_PICKS)
        with pytest.raises(AddressError, match="Address already in use"):
            listen(("127.0.0.1", "127.0.0.2"), 0)
        assert len(neighbour.picked) == PORT_PICKS
        # Nothing is left listening.
        for port in neighbour.picked:
            socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_was_asked_for_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        neighbour = Neighbour(monkeypatch, stack, 0)
        held = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with pytest.raises(AddressError, match="Address already in use"):
            listen(("127.0.0.1", "127.0.0.2"), held.getsockname()[1])
        assert not neighbour.picked
