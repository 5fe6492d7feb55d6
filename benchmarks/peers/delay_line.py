"""A long way to B: everything arrives a fixed time later, in both directions, and nothing is lost.

    python -m benchmarks.peers.delay_line TARGET_PORT SECONDS

It stands where a kernel would have netem. It takes whatever comes, at once and in large pieces, and
holds it until it is due: it does not limit the rate, neither by a window nor by a queue that is
full (plain TCP relays carry 900 MiB/s through two of them). How much is under way is up to the
ends.

Each connection has a process of its own: the two legs of a chain share nothing but the machine.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections import deque

CHUNK = 512 * 1024


class Direction:
    """From one socket to the other, later."""

    def __init__(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        self.source = source
        self.sink = sink
        self._seconds = seconds
        self._held: deque[tuple[float, memoryview]] = deque()
        self.reading = True
        # The sink is full: it says when there is room.
        self.blocked = False

    @property
    def over(self) -> bool:
        return not self.reading and not self._held

    def receive(self) -> None:
        """Take what there is. The end of the stream is held as an empty piece."""
        data = self.source.recv(CHUNK)
        self.reading = bool(data)
        self._held.append((time.monotonic() + self._seconds, memoryview(data)))

    def send(self) -> float | None:
        """Pass on what is due; returns when more will be, None if nobody knows yet."""
        self.blocked = False
        while self._held:
            due, data = self._held[0]
            if due > time.monotonic():
                return due
            if not data:
                self.sink.shutdown(socket.SHUT_WR)
            else:
                try:
                    sent = self.sink.send(data)
                except BlockingIOError:
                    sent = 0
                if sent < len(data):
                    self._held[0] = due, data[sent:]
                    self.blocked = True
                    return None
            self._held.popleft()
        return None


def carry(near: socket.socket, far: socket.socket, seconds: float) -> None:
    """Both directions, until both are over. Raises OSError when an end is gone."""
    for end in (near, far):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    directions = [Direction(near, far, seconds), Direction(far, near, seconds)]
    while True:
        due = [moment for one in directions if (moment := one.send()) is not None]
        if all(one.over for one in directions):
            return
        timeout = max(min(due) - time.monotonic(), 0) if due else None
        # select() and not epoll: it counts microseconds, and there are two descriptors.
        readable, _, _ = select.select(
            [one.source for one in directions if one.reading],
            [one.sink for one in directions if one.blocked],
            [],
            timeout,
        )
        for one in directions:
            if one.source in readable:
                one.receive()


def main(target_port: int, seconds: float) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        host, port = listener.getsockname()
        print(f"delaying on {host}:{port}", flush=True)
        while True:
            near, _ = listener.accept()
            with near:
                if os.fork() == 0:
                    listener.close()
                    _serve(near, target_port, seconds)
                    os._exit(0)


def _serve(near: socket.socket, target_port: int, seconds: float) -> None:
    try:
        with socket.create_connection(("127.0.0.1", target_port)) as far:
            carry(near, far, seconds)
    except OSError:
        pass  # an end is gone: the other one learns it as this process ends


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
