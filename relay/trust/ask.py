"""The question that StrictHostKeyChecking=ask puts, to the person at the terminal."""

from __future__ import annotations

import os
import signal

from relay import system


def ask_to_trust(name: str, shown: str, expected: str) -> bool | None:
    """Put the question to the person at the terminal. None: there is no terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0) | system.OPEN)
    except OSError:
        return None
    # The event loop stands still meanwhile, and with it the handling of Ctrl-C: give the
    # signal back its plain meaning.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.write(fd, f"The host key of {name} is not known yet.\nIt shows {shown}\n".encode())
        while True:
            os.write(fd, b"Trust it from now on (yes, no, or the fingerprint to compare)? ")
            answer = os.read(fd, 1024).decode(errors="replace").strip()
            if answer == expected or answer.lower() == "yes":
                return True
            if answer.lower() in ("no", ""):
                return False
    finally:
        signal.signal(signal.SIGINT, handler)
        os.close(fd)
