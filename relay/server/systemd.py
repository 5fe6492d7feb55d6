"""What a supervisor such as systemd is told, and what it passes: sd_notify(3), sd_listen_fds(3).

Both are a few bytes of protocol, without a library: datagrams to a socket, and descriptors from 3
on. Without a supervisor all of this does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from relay.errors import LocalError
from relay.system import unix_socket

LISTEN_FDS_START: Final = 3
"""SD_LISTEN_FDS_START: the first descriptor that is passed."""

STATUS_INTERVAL: Final = 15.0
"""Seconds between two STATUS lines where no watchdog wants them more often."""


class Supervisor:
    """Who is told of our state by $NOTIFY_SOCKET."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # The abstract namespace.
            self._address = "\0" + self._address[1:]
        watchdog = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
        if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            watchdog = 0.0
        self._watchdog = watchdog > 0
        # sd_watchdog_enabled(3): "half of the time returned".
        self.interval = min(watchdog / 2, STATUS_INTERVAL) if watchdog else STATUS_INTERVAL

    @property
    def watched(self) -> bool:
        """Does anybody listen?"""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Started, or done with reading the configuration again."""
        self._tell("READY=1", f"STATUS={status}")

    def alive(self, status: str) -> None:
        """The event loop turns."""
        watchdog = ("WATCHDOG=1",) if self._watchdog else ()
        self._tell(*watchdog, f"STATUS={status}")

    def reloading(self) -> None:
        """The clock is for Type=notify-reload."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=stopping")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with unix_socket(socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # A supervisor that does not listen is no reason to stop serving.


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that a supervisor passed to this very process. Raises LocalError."""
    try:
        ours = int(environ.get("LISTEN_PID", "")) == os.getpid()
        count = int(environ.get("LISTEN_FDS", ""))
    except ValueError:
        return []
    if not ours:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)  # They are not for our children.
    return [_inherited(LISTEN_FDS_START + number) for number in range(count)]


def _inherited(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        problem = f"LISTEN_FDS: descriptor {descriptor}: {error.strerror}"
        raise LocalError(problem) from None
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
