"""The delay line holds bytes, loses none, and passes on how a stream ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.peers import delay_line

SECONDS = 0.05


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = []
        for _ in range(2):
            outer = socket.create_connection(listener.getsockname())
            inner, _ = listener.accept()
            outer.settimeout(10)
            pairs.append((outer, inner))
    (left, near), (right, far) = pairs

    def carry() -> None:
        with near, far:
            delay_line.carry(near, far, SECONDS)

    thread = threading.Thread(target=carry)
    thread.start()
    with left, right:
        yield left, right
        for end in (left, right):
            end.shutdown(socket.SHUT_WR)
        thread.join()


def test_nothing_comes_before_its_time(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = ends
    start = time.monotonic()
    left.sendall(b"to the right")
    assert right.recv(100) == b"to the right"
    assert time.monotonic() - start >= SECONDS
    right.sendall(b"and back")
    assert left.recv(100) == b"and back"
    assert time.monotonic() - start >= 2 * SECONDS


def test_a_reader_that_is_late_gets_all_of_it_and_then_the_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    left, right = ends
    sent = bytes(range(256)) * 65536
    sender = threading.Thread(target=left.sendall, args=(sent,))
    sender.start()
    sender.join()  # the line takes everything, though nobody reads
    left.shutdown(socket.SHUT_WR)
    received = bytearray()
    while part := right.recv(1 << 20):
        received += part
    assert received == sent
    right.sendall(b"the other half is open")
    assert left.recv(100) == b"the other half is open"
