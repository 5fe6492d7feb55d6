"""The load at A on one stream: what a client of the chain does, timed. The other end is `service`.

Of many streams at once: `crowd`.
"""

from __future__ import annotations

import socket
import struct
import time

from benchmarks import service
from benchmarks.errors import BrokenError
from benchmarks.service import TOKEN, TOKEN_STAMP

STALL_SECONDS = 30
"""A stream on which nothing moves for so long is broken."""

REQUEST = bytes(64)
"""What is sent, and comes back, where messages are small."""

ECHO = b"echo\n"
"""The first line of a stream on which everything comes back."""


def connect(port: int) -> socket.socket:
    """Open a stream at A.

    The kernel keeps the time limit: Python's own would cost a poll() for each send and receive.
    """
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.settimeout(None)
    limit = struct.pack("@ll", STALL_SECONDS, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return stream


def download(stream: socket.socket, size: int) -> float:
    """C→A: seconds from asking for the first byte to receiving the last."""
    _command(stream, b"download %d\n" % size)
    start = time.perf_counter()
    stream.sendall(b"\n")
    received = service.receive(stream, size)
    seconds = time.perf_counter() - start
    if received != size:
        raise BrokenError(f"{received} of {size} bytes came through")
    return seconds


def upload(stream: socket.socket, size: int) -> float:
    """A→C: seconds from sending the first byte to C's word that the last has arrived."""
    _command(stream, b"upload %d\n" % size)
    start = time.perf_counter()
    service.send(stream, size)
    answer = service.read_line(stream)
    seconds = time.perf_counter() - start
    if answer != b"%d\n" % size:
        raise BrokenError(f"of {size} bytes the service counted {answer!r}")
    return seconds


def begin_download(stream: socket.socket, size: int) -> None:
    """From here on bytes come."""
    _command(stream, b"download %d\n" % size)
    stream.sendall(b"\n")


def steady_download(stream: socket.socket, size: int, warm_up: int) -> float:
    """C→A: seconds from when `warm_up` bytes have come until `size` more have."""
    begin_download(stream, warm_up + size)
    received = service.receive(stream, warm_up)
    start = time.perf_counter()
    received += service.receive(stream, size)
    seconds = time.perf_counter() - start
    if received != warm_up + size:
        raise BrokenError(f"{received} of {warm_up + size} bytes came through")
    return seconds


def steady_upload(stream: socket.socket, size: int, warm_up: int) -> float:
    """A→C: the same, by the service's clock."""
    _command(stream, b"upload %d %d\n" % (size, warm_up))
    service.send(stream, warm_up + size)
    answer = service.read_line(stream)
    if not answer.endswith(b"\n"):
        raise BrokenError(f"the service did not count all of {warm_up + size} bytes")
    return float(answer)


def token_delays(stream: socket.socket, count: int) -> list[float]:
    """C→A: seconds that each of so many tokens was under way."""
    _command(stream, b"tokens %d\n" % count)
    buffer = memoryview(bytearray(TOKEN))
    delays = []
    for _ in range(count):
        left = TOKEN
        while left:
            received = stream.recv_into(buffer[TOKEN - left :])
            if not received:
                raise BrokenError("the tokens ended early")
            left -= received
        delays.append((time.monotonic_ns() - TOKEN_STAMP.unpack_from(buffer)[0]) / 1e9)
    return delays


def echo(stream: socket.socket, data: bytes) -> bytes:
    """Send a little and receive as much."""
    stream.sendall(ECHO + data)
    reply = b""
    while len(reply) < len(data):
        part = stream.recv(len(data) - len(reply))
        if not part:
            break
        reply += part
    return reply


def begin_echo(stream: socket.socket) -> None:
    """From here on everything comes back; returns when the first bytes did."""
    if echo(stream, REQUEST) != REQUEST:
        raise BrokenError("the service does not echo")


def receive_reply(stream: socket.socket) -> None:
    """A reply is so small that it comes in one piece or almost so: the rest is waited for."""
    left = len(REQUEST)
    while left:
        part = stream.recv(left)
        if not part:
            raise BrokenError("the stream ended without a reply")
        left -= len(part)


def round_trips(stream: socket.socket, count: int) -> list[float]:
    """Seconds for each of so many requests and replies, one after the other, on an echoing
    stream."""
    clock, request, size = time.perf_counter, REQUEST, len(REQUEST)
    reply = bytearray(size)
    seconds = []
    for _ in range(count):
        start = clock()
        stream.send(request)
        received = stream.recv_into(reply)
        while received < size:
            more = stream.recv_into(reply, size - received)
            if not more:
                raise BrokenError("the stream ended within a reply")
            received += more
        seconds.append(clock() - start)
    return seconds


def _command(stream: socket.socket, line: bytes) -> None:
    stream.sendall(line)
    answer = service.read_line(stream)
    if answer != service.READY:
        raise BrokenError(f"the service did not answer {line!r}")
