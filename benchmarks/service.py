"""The service behind C: a source, a sink and an echo, chosen by the first line of a stream.

    client                          service
    "download N\\n"                  "ready\\n"
    "\\n"  (the clock starts)         N bytes
    "upload N\\n"                    "ready\\n"
    N bytes (the clock starts)      "N\\n" once all of them have arrived
    "upload N W\\n"                  "ready\\n"
    W bytes, N bytes                "S\\n": the seconds from the last of the W to that of the N
    "tokens N\\n"                    "ready\\n", then N tokens, one every 20 ms
    "echo\\n"                        everything that follows, back, a little at a time

"ready" says that the stream stands from end to end, so that opening it is not part of the time.

This end must never be the bottleneck. Bulk has a thread for each stream, which blocks and uses one
big buffer over and over. Echoes share one loop on epoll: fifty threads would wait for the
interpreter's lock rather than for the chain, and ten thousand of them are no way to be idle.

Run as a process: `python -m benchmarks.service` says `serving on HOST:PORT`.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

READY = b"ready\n"
CHUNK = 256 * 1024
"""Large enough that system calls do not count, small enough to stay in a core's cache."""

TOKEN = 100
TOKEN_SECONDS = 0.02
TOKEN_STAMP = struct.Struct("@q")
"""A token is so many bytes, of which the first are CLOCK_MONOTONIC in nanoseconds."""

_LONGEST_LINE = 64


def main() -> None:
    """Serve on an ephemeral port until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        host, port = listener.getsockname()
        print(f"serving on {host}:{port}", flush=True)
        Service(listener).run()


class Service:
    """The loop: accepts, reads first lines, echoes."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        # Those whose first line has not come, and those that said "echo".
        self._new: dict[int, socket.socket] = {}
        self._echoing: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for number, _ in self._epoll.poll():
                if stream := self._echoing.get(number):
                    self._echo(stream)
                elif stream := self._new.pop(number, None):
                    self._begin(stream)
                else:
                    self._accept()

    def _accept(self) -> None:
        stream, _ = self._listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._new[stream.fileno()] = stream
        self._epoll.register(stream, select.EPOLLIN)

    def _begin(self, stream: socket.socket) -> None:
        try:
            words = read_line(stream).split()
        except OSError:
            words = []
        if words == [b"echo"]:
            self._echoing[stream.fileno()] = stream
            return
        self._epoll.unregister(stream)
        threading.Thread(target=_serve, args=(stream, words), daemon=True).start()

    def _echo(self, stream: socket.socket) -> None:
        """Sockets block, but nobody sends a request before he has the last reply."""
        try:
            if data := stream.recv(CHUNK):
                stream.send(data)
                return
        except OSError:
            pass  # the client went away: its business
        del self._echoing[stream.fileno()]
        stream.close()


def _serve(stream: socket.socket, words: list[bytes]) -> None:
    """Bulk, in a thread."""
    with stream:
        try:
            match words:
                case [b"download", size]:
                    stream.sendall(READY)
                    if stream.recv(1):
                        send(stream, int(size))
                case [b"tokens", count]:
                    stream.sendall(READY)
                    _send_tokens(stream, int(count))
                case [b"upload", size, warm_up]:
                    stream.sendall(READY)
                    stream.sendall(_timed(stream, int(size), int(warm_up)))
                case [b"upload", size]:
                    stream.sendall(READY)
                    stream.sendall(b"%d\n" % receive(stream, int(size)))
        except OSError:
            pass  # as above


def _send_tokens(stream: socket.socket, count: int) -> None:
    """At fixed times: one that is late does not delay the next."""
    token, start = bytearray(TOKEN), time.monotonic()
    for number in range(count):
        time.sleep(max(start + number * TOKEN_SECONDS - time.monotonic(), 0))
        TOKEN_STAMP.pack_into(token, 0, time.monotonic_ns())
        stream.sendall(token)


def _timed(stream: socket.socket, size: int, warm_up: int) -> bytes:
    """The line with the seconds; nothing if bytes are missing."""
    receive(stream, warm_up)
    start = time.perf_counter()
    if receive(stream, size) != size:
        return b""
    return b"%f\n" % (time.perf_counter() - start)


def read_line(stream: socket.socket) -> bytes:
    """One line, as far as it comes: what follows it stays in the socket."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        waiting = stream.recv(_LONGEST_LINE, socket.MSG_PEEK)
        if not waiting:
            break
        line += stream.recv(waiting.find(b"\n") + 1 or len(waiting))
    return line


def send(stream: socket.socket, size: int) -> None:
    """Send that many bytes."""
    chunk = memoryview(bytes(CHUNK))
    while size:
        part = chunk[: min(size, CHUNK)]
        stream.sendall(part)
        size -= len(part)


def receive(stream: socket.socket, size: int) -> int:
    """Receive that many bytes, fewer if the stream ends; returns how many came."""
    buffer = memoryview(bytearray(CHUNK))
    left = size
    while left:
        count = stream.recv_into(buffer, min(left, CHUNK))
        if not count:
            break
        left -= count
    return size - left


if __name__ == "__main__":
    main()
