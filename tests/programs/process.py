"""One process: what it says, how it ends, and that it ends."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

import relay
from tests.programs.forks import Fork

GUARD = 60.0
"""Seconds after which a test that waits gives up. No verdict depends on it: it ends a hang."""


class Process:
    """A program and a thread that takes what it says, so that it never waits for its reader."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        start: type[Fork] | type[subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._silent = False
        self._reading = threading.Event()
        self._reading.set()
        reading, writing = os.pipe()
        self._output = open(reading, "rb")  # noqa: SIM115
        with open(os.devnull, "rb") as nothing, open(writing, "wb") as said:
            self._popen = start(
                [str(word) for word in command],
                cwd=folder,
                env=environment(folder),
                stdin=nothing,
                stdout=said,
                stderr=said,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"{self.name}:\n" + "\n".join(f"    {line}" for line in self.lines)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def wait_for(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """The match in the `count`th line that has one, said already or still to come."""
        at = 0
        with self._changed:
            while True:
                for line in self.lines[at:]:
                    match = re.search(pattern, line)
                    if match is not None:
                        count -= 1
                        if not count:
                            return match
                at = len(self.lines)
                assert not self._silent, f"ended without saying {pattern!r}: {self!r}"
                assert self._changed.wait(GUARD), f"does not say {pattern!r}: {self!r}"

    def said(self, pattern: str) -> bool:
        """Whether a line so far matches. For what must not be there, after what must."""
        return any(re.search(pattern, line) for line in self.lines)

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Meanwhile nobody reads what it says; what it has said before is read first."""
        fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, 4096)
        self._reading.clear()
        try:
            yield
        finally:
            self._reading.set()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        code = self._popen.wait(GUARD)
        self._reader.join(GUARD)
        return code

    def stop(self) -> int:
        """End it and whatever it started; its exit code, negative for the signal that ended it."""
        family: list[psutil.Process] = []
        if self._popen.poll() is None:
            # One that ends just now is nobody's child any more: whoever forked it has waited.
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(self.pid).children(recursive=True)
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            self._popen.wait(GUARD)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for child in family:
            # A session of sshd outlives its listener.
            try:
                child.terminate()
            except psutil.NoSuchProcess:
                pass
        for child in psutil.wait_procs(family, GUARD)[1]:
            child.kill()
        self._reader.join(GUARD)
        return self._popen.returncode

    def _read(self) -> None:
        with self._output as output:
            for line in output:
                self._reading.wait()
                with self._changed:
                    self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's takes part: no ssh-agent, no home, no folder of running programs; and
    this very package."""
    left_out = ("SSH_AUTH_SOCK", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
    ours = {key: value for key, value in os.environ.items() if key not in left_out}
    paths = [str(Path(relay.__file__).parent.parent), ours.get("PYTHONPATH", "")]
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    return ours | home | {"PYTHONUNBUFFERED": "1"}
