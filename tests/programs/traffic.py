"""What goes through a chain: a service, its clients, and bytes that are compared."""

from __future__ import annotations

import hashlib
import os
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.programs.process import GUARD

MIB = 1 << 20

PORTS = range(20_000, 32_000)
"""Where no system takes the ports that it picks itself (Linux: from 32768, others: from 49152)."""
LOW_PORTS = range(600, 1024)
"""Ports that only root may open, where services of the system are rare."""

T = TypeVar("T")

_BLOCK = os.urandom(2 * MIB)


class Service:
    """A listening socket on C's loopback; `accept` gives the far end of the next stream."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.settimeout(GUARD)
        self.port: int = self.listener.getsockname()[1]

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(GUARD)
        return sock

    def close(self) -> None:
        self.listener.close()


def dial(port: int) -> socket.socket:
    """A client of the port."""
    return socket.create_connection(("127.0.0.1", port), timeout=GUARD)


def free_port(ports: range = PORTS) -> int:
    """A port that nobody uses now, for programs that cannot pick one: below those that the kernel
    gives away, or it might give this one to any connection before the program listens."""
    while True:
        port = random.randrange(ports.start, ports.stop)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except PermissionError:
            return port  # Whoever may try to listen will see.
        except OSError:
            continue


def content(size: int, seed: int = 0) -> Iterator[memoryview]:
    """`size` random bytes in pieces. No two pieces are alike, so that none can be exchanged for
    another unnoticed, nor can streams of different seeds."""
    block = memoryview(_BLOCK)
    number = seed
    while size:
        start = number * 4099 % MIB
        piece = block[start : start + min(size, MIB)]
        size -= len(piece)
        number += 1
        yield piece


def flood(sock: socket.socket) -> None:
    """Send, until the peer breaks the stream, more than fits anywhere on the way."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        sock.sendall(bytes(256 * MIB))


def digest(size: int, seed: int = 0) -> str:
    """The SHA-256 of the content."""
    return hashlib.sha256(b"".join(content(size, seed))).hexdigest()


def send(sock: socket.socket, size: int, seed: int = 0) -> str:
    """Send the content and then the end of it; its SHA-256."""
    sent = hashlib.sha256()
    for piece in content(size, seed):
        sock.sendall(piece)
        sent.update(piece)
    sock.shutdown(socket.SHUT_WR)
    return sent.hexdigest()


def receive(sock: socket.socket) -> tuple[int, str]:
    """Read to the end of the stream: how much came, and its SHA-256."""
    received, total = hashlib.sha256(), 0
    buffer = memoryview(bytearray(MIB))
    while size := sock.recv_into(buffer):
        received.update(buffer[:size])
        total += size
    return total, received.hexdigest()


def exchange(client: socket.socket, service: socket.socket, size: int, seed: int = 0) -> None:
    """Send `size` bytes each way at once, and compare what came with what went."""
    with client, service, ThreadPoolExecutor(4) as threads:
        there = threads.submit(send, client, size, seed)
        back = threads.submit(send, service, size, seed + 1)
        came_there = threads.submit(receive, service)
        came_back = threads.submit(receive, client)
        assert came_there.result() == (size, there.result())
        assert came_back.result() == (size, back.result())


def together(tasks: list[Callable[[], T]]) -> list[T]:
    """Run all at once, each in a thread; raises what any of them raises."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        running: list[Future[T]] = [threads.submit(task) for task in tasks]
        return [task.result() for task in running]


def reset(sock: socket.socket) -> None:
    """Close with RST, as a process that crashes with unread data does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_reset(sock: socket.socket) -> bool:
    """Read to the end: did the stream break, rather than end?"""
    try:
        receive(sock)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def wait_until_gone(sock: socket.socket) -> None:
    """Wait until the peer has broken the stream, or has closed it in both directions."""
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(GUARD * 1000), "the peer is still there"


@contextmanager
def closing(*sockets: socket.socket) -> Iterator[None]:
    """Close them all at the end."""
    try:
        yield
    finally:
        for sock in sockets:
            sock.close()
