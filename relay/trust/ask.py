"""Questions to the person at the terminal: StrictHostKeyChecking=ask, and the passphrase of a key.

Both are put on the terminal itself, so that standard input and output may be a stream's (`-W`). The
event loop stands still meanwhile, and with it the handling of Ctrl-C, which gets its plain meaning
back.
"""

from __future__ import annotations

import getpass
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from relay import system

TERMINAL: Final = "/dev/tty"


def ask_to_trust(name: str, shown: str, expected: str) -> bool | None:
    """Put the question to the person at the terminal. None: there is no terminal."""
    with _terminal() as fd:
        if fd is None:
            return None
        os.write(fd, f"The host key of {name} is not known yet.\nIt shows {shown}\n".encode())
        while True:
            os.write(fd, b"Trust it from now on (yes, no, or the fingerprint to compare)? ")
            answer = os.read(fd, 1024).decode(errors="replace").strip()
            if answer == expected or answer.lower() == "yes":
                return True
            if answer.lower() in ("no", ""):
                return False


def ask_passphrase(path: Path) -> str | None:
    """Of a key, without an echo. None: there is no terminal, or it was closed."""
    with _terminal() as fd:
        if fd is None:
            return None
        try:
            return getpass.getpass(f"Enter passphrase for key '{path}': ")
        except EOFError:
            return None


@contextmanager
def _terminal() -> Iterator[int | None]:
    try:
        fd = os.open(TERMINAL, os.O_RDWR | getattr(os, "O_NOCTTY", 0) | system.OPEN)
    except OSError:
        yield None
        return
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield fd
    finally:
        signal.signal(signal.SIGINT, handler)
        os.close(fd)
