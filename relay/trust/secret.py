"""A password in a file: one line, and nobody else's to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from relay.errors import FileError
from relay.sshconfig.proxy import CONTROL
from relay.trust.modes import check_private

MAX_PASSWORD: Final = 1024
"""Bytes of a password; anything longer is another file."""


def read_password(path: Path) -> str:
    """What the file says, without the end of its line.

    Raises:
        FileError: it cannot be read, others can read it too, or it is not one line.
    """
    try:
        # A FIFO would keep us waiting for who writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileError(path, "no plain file: give one with the password in it")
            check_private(path, status, "password")
            data = file.read(MAX_PASSWORD + 3)
    except OSError as error:
        raise FileError(path, f"cannot read the password: {error.strerror or error}") from None
    text = data.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    if not text or len(data) > MAX_PASSWORD + 2 or CONTROL.search(text):
        raise FileError(path, f"not one line with a password of at most {MAX_PASSWORD} bytes")
    return text
