"""What a chain is to a part, and what a chain needs to build itself."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.errors import StartError
from benchmarks.processes import START_SECONDS, Process, python


@dataclass(frozen=True)
class Chain:
    """Three processes that stand: a stream to `port` at A ends at the service at C."""

    port: int
    a: Process
    b: Process
    c: Process
    versions: Mapping[str, str]
    """Of the programs and libraries that it is made of."""
    beside_c: tuple[Process, ...] = ()
    """Further processes of C's, which cost it CPU time too."""

    def connect(self) -> socket.socket:
        """Open a stream at A."""
        return load.connect(self.port)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far at A, B and C."""
        seconds = {place: process.cpu_seconds() for place, process in self.processes().items()}
        seconds["C"] += sum(process.cpu_seconds() for process in self.beside_c)
        return seconds

    def processes(self) -> dict[str, Process]:
        """By place."""
        return {"A": self.a, "B": self.b, "C": self.c}

    def wait_until_ready(self) -> None:
        """Wait until a few bytes pass from end to end and back."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            problem = self._try()
            if not problem:
                return
            if time.monotonic() > deadline:
                raise StartError(f"no stream from A to C: {problem}")
            time.sleep(0.05)

    def _try(self) -> str:
        try:
            with self.connect() as stream:
                return "" if load.echo(stream, b"ping") == b"ping" else "it was closed"
        except OSError as error:
            return str(error)


@dataclass(frozen=True)
class Site:
    """Where a chain is built: a folder of its own, the service to reach, and who cleans up."""

    folder: Path
    service_port: int
    cleanup: ExitStack
    delay: float = 0.0
    """Seconds that everything takes from one end of a leg to the other."""

    def spawn(self, name: str, command: list[str]) -> Process:
        """Start a process that ends with the site; the last one started ends first."""
        process = Process(name, command, self.folder)
        self.cleanup.callback(process.stop)
        return process

    def leg_to(self, port: int) -> int:
        """The port to dial for the one that listens at the other end of a leg."""
        if not self.delay:
            return port
        command = python("benchmarks.peers.delay_line", str(port), str(self.delay))
        line = self.spawn(f"delay-{port}", command)
        return int(line.wait_for(r"^delaying on .*:(\d+)$")[1])


@dataclass(frozen=True)
class Hub:
    """B alone, for agents that are not part of a chain."""

    start: Callable[[], Process]
    """Starts it, again after it was stopped, and returns when it listens."""
    port: int
    user: str
    agent_key: Path
    service: str
    """What agent number `{}` may publish."""


HubBuilder = Callable[[Site], Hub]

Builder = Callable[[Site], Chain]
"""Builds one chain. Raises `MissingProgramError` or `StartError`."""


def free_port() -> int:
    """A port that nobody holds right now, for programs that cannot pick one by themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def first_line(command: list[str]) -> str:
    """The first line that a program prints, wherever it prints it: `ssh -V` uses stderr."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout.strip().partition("\n")[0]
