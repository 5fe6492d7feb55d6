"""A program at a terminal, and a person who types there."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs.process import GUARD, environment


class Terminal:
    """What is seen on the screen, and the keyboard."""

    def __init__(self, pid: int, fd: int) -> None:
        self._pid, self._fd = pid, fd
        self.screen = ""
        self._status: int | None = None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The match, and the screen is empty behind it."""
        while (match := re.search(pattern, self.screen)) is None:
            ready, _, _ = select.select([self._fd], [], [], GUARD)
            assert ready, f"no {pattern!r} on the screen: {self.screen}"
            try:
                data = os.read(self._fd, 4096)
            except OSError:  # Linux: the last one has closed it.
                data = b""
            assert data, f"ended without {pattern!r}: {self.screen}"
            self.screen += data.decode()
        self.screen = self.screen[match.end() :]
        return match

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def end(self) -> int:
        """Its exit code, once it has ended."""
        try:
            while data := os.read(self._fd, 4096):
                self.screen += data.decode()
        except OSError:
            pass
        if self._status is None:
            self._status = os.waitpid(self._pid, 0)[1]
        return os.waitstatus_to_exitcode(self._status)

    def stop(self) -> int:
        if self._status is None:
            os.kill(self._pid, signal.SIGTERM)
        return self.end()


@contextmanager
def at_a_terminal(folder: Path, module: str, *arguments: str | Path) -> Iterator[Terminal]:
    """Start it there; it ends with the block."""
    words = [sys.executable, "-m", module, *map(str, arguments)]
    env = environment(folder)
    pid, fd = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execve(sys.executable, words, env)
    terminal = Terminal(pid, fd)
    try:
        yield terminal
    finally:
        terminal.stop()
        os.close(fd)
