"""ProxyCommand: a command whose standard input and output are the connection to B."""

from __future__ import annotations

import socket
import subprocess
import threading
from typing import Final

from relay.errors import LegLost
from relay.system import shell_command

LAST_WORDS: Final = 0.2
"""Seconds in which a command whose output has ended is expected to end itself."""


class ProxyCommand:
    """The running command; `sock` is our end, for the leg."""

    def __init__(self, command: str) -> None:
        """Raises `LegLost` when there is no shell to run it."""
        self.sock, theirs = socket.socketpair()
        try:
            # "The command string […] is executed using the user's shell `exec` directive to avoid
            # a lingering shell process". The plain shell does: the syntax is the file's, and
            # must not depend on who reads it.
            self._process = subprocess.Popen(
                shell_command(f"exec {command}"),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        except OSError as error:
            self.sock.close()
            raise LegLost(f"ProxyCommand: {error.strerror}") from None
        finally:
            theirs.close()

    def failure(self) -> str:
        """Why it ended, if it has ended badly; else an empty text."""
        try:
            code = self._process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return ""
        return f"the ProxyCommand ended with exit code {code}" if code else ""

    def close(self) -> None:
        """End the command; its end is waited for by a thread, lest it stay as a zombie."""
        if self._process.poll() is None:
            self._process.terminate()
            threading.Thread(target=self._process.wait, daemon=True).start()
