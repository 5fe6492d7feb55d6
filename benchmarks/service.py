"""The service behind C: a source, a sink and an echo, chosen by the first line of a stream.

    client                          service
    "download N\\n"                  "ready\\n"
    "\\n"  (the clock starts)         N bytes
    "upload N\\n"                    "ready\\n"
    N bytes (the clock starts)      "N\\n" once all of them have arrived
    "echo\\n"                        everything that follows, back

"ready" says that the stream stands from end to end, so that opening it is not part of the time.
Sockets block and one big buffer is used over and over: this end must never be the bottleneck.

Run as a process: `python -m benchmarks.service` says `serving on HOST:PORT`.
"""

from __future__ import annotations

import socket
import threading

READY = b"ready\n"
CHUNK = 256 * 1024
"""Large enough that system calls do not count, small enough to stay in a core's cache."""

_LONGEST_LINE = 64


def main() -> None:
    """Serve on an ephemeral port until killed; a thread for each stream."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        host, port = listener.getsockname()
        print(f"serving on {host}:{port}", flush=True)
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=_serve, args=(stream,), daemon=True).start()


def _serve(stream: socket.socket) -> None:
    with stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            match read_line(stream).split():
                case [b"download", size]:
                    stream.sendall(READY)
                    if stream.recv(1):
                        send(stream, int(size))
                case [b"upload", size]:
                    stream.sendall(READY)
                    stream.sendall(b"%d\n" % receive(stream, int(size)))
                case [b"echo"]:
                    while data := stream.recv(CHUNK):
                        stream.sendall(data)
        except OSError:
            pass  # the client went away: its business


def read_line(stream: socket.socket) -> bytes:
    """One line, byte by byte: what follows it stays in the socket."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        byte = stream.recv(1)
        if not byte:
            break
        line += byte
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
