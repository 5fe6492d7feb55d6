"""Real processes: start one, wait for what it says, read its CPU clock, stop it with its children.

A process writes to a file, not to a pipe: nobody has to empty a file while a transfer runs.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.errors import StartError

START_SECONDS = 20.0
"""For a process to say that it is ready: on a busy machine Python alone takes a second or two."""

STOP_SECONDS = 5.0
"""From SIGTERM to SIGKILL."""

_POLL_SECONDS = 0.02
_ROOT = Path(__file__).resolve().parent.parent
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """One process and all its descendants, with standard output and error in one file."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, *, answers: bool = False
    ) -> None:
        """`answers`: standard input and output are pipes, of which `ask` makes use."""
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if answers else subprocess.DEVNULL,
                stdout=subprocess.PIPE if answers else log,
                stderr=log,
                cwd=_ROOT,
                env=_environment(folder),
            )

    def ask(self, line: str = "") -> str:
        """Give it a line, if there is one, and return its next one; empty: it has ended."""
        asking, answering = self._popen.stdin, self._popen.stdout
        assert asking is not None
        assert answering is not None
        if line:
            asking.write(f"{line}\n".encode())
            asking.flush()
        return answering.readline().decode().strip()

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Wait until a line of its output matches, and return the match."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self._popen.poll() is not None  # before reading: then the log is complete
            if match := re.search(pattern, self.output(), re.MULTILINE):
                return match
            if ended:
                raise StartError(
                    f"{self.name} ended with {self._popen.returncode}: {self.last_line()}"
                )
            time.sleep(_POLL_SECONDS)
        raise StartError(f"{self.name} did not say {pattern!r}: {self.last_line()}")

    def output(self) -> str:
        """Everything it has written so far."""
        return self._log.read_text(errors="replace")

    def last_line(self) -> str:
        """The last words that it wrote: of a Python program that failed, the reason."""
        lines = [line for line in self.output().splitlines() if re.search(r"\w", line)]
        return lines[-1].strip() if lines else "(nothing)"

    def pids(self) -> list[int]:
        """Its process id and those of all its descendants."""
        return [self._popen.pid, *(child.pid for child in self._descendants())]

    def cpu_seconds(self) -> float:
        """User and system time of it and its descendants that live now, to the nanosecond."""
        return sum(cpu_seconds(pid) for pid in self.pids())

    def memory(self) -> int:
        """Bytes of it and its descendants. Of a page that several processes share each has its
        part (PSS)."""
        return sum(_memory(pid) for pid in self.pids())

    def stop(self) -> None:
        """End it and its descendants, and return when all are gone.

        The descendants are looked up first: a session of sshd outlives its listener.
        """
        everyone = self._descendants()
        if self._popen.poll() is None:
            everyone.append(psutil.Process(self._popen.pid))
        for signal in ("terminate", "kill"):
            _signal(everyone, signal)
            everyone = _still_alive(everyone, time.monotonic() + STOP_SECONDS)
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def _descendants(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self._popen.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []


def python(module: str, *arguments: str, checkout: Path | None = None) -> list[str]:
    """The command that runs a module with this very interpreter, of another checkout if one is
    named."""
    command = [sys.executable, "-m", module, *arguments]
    return command if checkout is None else ["env", f"PYTHONPATH={checkout}", *command]


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, 0 if it is gone.

    The POSIX clock counts nanoseconds. /proc/PID/stat counts hundredths of a second, and B needs
    only a few of those for a quick run.
    """
    clock = ctypes.c_int()
    if _libc.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock)) != 0:
        return 0.0
    try:
        return time.clock_gettime(clock.value)
    except OSError:
        return 0.0


def raise_descriptor_limit() -> int:
    """Let this process, and those that it starts from now on, open as many files and sockets as the
    system permits; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _memory(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended meanwhile
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _environment(folder: Path) -> dict[str, str]:
    """No agent and no home of the user: his keys and his ssh_config must not take part."""
    inherited = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"}
    return inherited | {"HOME": str(folder), "PYTHONUNBUFFERED": "1"}


def _signal(processes: Sequence[psutil.Process], method: str) -> None:
    for process in processes:
        try:
            getattr(process, method)()
        except psutil.NoSuchProcess:
            pass


def _still_alive(processes: Sequence[psutil.Process], deadline: float) -> list[psutil.Process]:
    """Those that have not ended by then.

    A zombie has ended, though its process id is taken: in a container perhaps nobody collects it.
    """
    while alive := [process for process in processes if _alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
