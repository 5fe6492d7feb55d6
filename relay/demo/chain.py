"""The three programs and the service as processes of this machine, with throw-away keys."""

from __future__ import annotations

import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

import relay
from relay.trust.hostkeys import create_key
from relay.trust.known_hosts import host_name

READY_SECONDS: Final = 30.0
"""How long a program may take to its ready line: a slow disk's cold start, many times over."""

STOP_SECONDS: Final = 5.0
"""How long a program may take to say goodbye before it is killed."""

SERVICE: Final = "gpu1:8000"


class ProgramFailed(Exception):
    """A program ended, or did not get ready; the text has what it said on standard error."""


class Program:
    """A process, and a thread that takes what it says, so that it never waits for a reader."""

    def __init__(self, name: str, module: str, arguments: str, folder: Path) -> None:
        self.name = name
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *shlex.split(arguments)],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C is for the demonstration, which then ends its programs in good order.
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stderr])
        self._reader.start()

    def wait_for(self, pattern: str) -> list[str]:
        """The lines that the program has said, up to one that matches `pattern`.

        Raises ProgramFailed if it ends before, or is silent for longer than `READY_SECONDS`.
        """
        lines: list[str] = []
        while not lines or not re.search(pattern, lines[-1]):
            try:
                line = self._lines.get(timeout=READY_SECONDS)
            except queue.Empty:
                raise ProgramFailed(f"{self.name} does not get ready{self.report()}") from None
            if line is None:
                self._process.wait(STOP_SECONDS)  # its standard error is closed: it is going
                raise ProgramFailed(f"{self.name} ended{self.report()}")
            lines.append(line)
        return lines

    def report(self) -> str:
        """What it said, for an error; and its exit code, if it ended."""
        code = self._process.poll()
        state = "" if code is None else f" (exit code {code})"
        return f"{state}; its standard error:\n" + "".join(f"  {line}\n" for line in self.said)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it: politely, then by force."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self, stderr: IO[str]) -> None:
        with stderr:
            for line in stderr:
                self.said.append(line.rstrip("\n"))
                self._lines.put(self.said[-1])
        self._lines.put(None)


class Chain:
    """A, B and C on loopback, in a temporary folder. `programs` is in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self.programs: list[Program] = []
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator[int]:
        """Start everything, yield A's local port, stop everything.

        Shows each command line as one would type it, and what the program answers.
        Raises ProgramFailed.
        """
        self._make_keys()
        with ExitStack() as stack:
            service = self._start(
                stack,
                "python -m relay.demo.service",
                "relay.demo.service",
                "",
                r"listening on 127\.0\.0\.1:",
            )
            server = self._start(
                stack,
                "relay-server",
                "relay.cli.server",
                "--listen 127.0.0.1:0 --state-dir state",
                r"listening on 127\.0\.0\.1:",
            )
            self._trust(server)
            self._start(
                stack,
                "relay-agent",
                "relay.cli.agent",
                f"-F none -p {server} -i agent_key -o UserKnownHostsFile=known_hosts "
                f"-R {SERVICE}:localhost:{service} relay@127.0.0.1",
                rf"{SERVICE} -> .* published",
            )
            yield self._start(
                stack,
                "relay-connect",
                "relay.cli.connect",
                f"-F none -p {server} -i client_key -o UserKnownHostsFile=known_hosts "
                f"-L 0:{SERVICE} relay@127.0.0.1",
                rf"127\.0\.0\.1:\d+ -> {SERVICE} ready",
            )

    def failure(self) -> str:
        """Who is to blame for a stream that broke: the programs that ended, or else anyone."""
        suspects = [program for program in self.programs if program.ended] or self.programs
        return "".join(f"{program.name}{program.report()}" for program in suspects)

    def _start(self, stack: ExitStack, name: str, module: str, arguments: str, ready: str) -> int:
        """Start a program and wait until it is ready. Returns the port that it names, or 0."""
        print(f"$ {name} {arguments}".rstrip())
        program = Program(name, module, arguments, self._folder)
        self.programs.append(program)
        stack.callback(program.stop)
        lines = program.wait_for(ready)
        for line in lines:
            print(f"    {line}", flush=True)
        port = re.search(r"127\.0\.0\.1:(\d+)", lines[-1])
        return int(port[1]) if port else 0

    def _make_keys(self) -> None:
        """A's and C's keys, and what B lets each of them do."""
        state = self._folder / "state"
        state.mkdir(mode=0o700)
        grants = {
            "agent_key": f'permitlisten="{SERVICE}",permitopen="none"',
            "client_key": f'permitopen="{SERVICE}",permitlisten="none"',
        }
        with open(state / "authorized_keys", "w") as file:
            for name, permits in grants.items():
                key, _ = create_key(self._folder / name, comment=name)
                public = key.export_public_key("openssh").decode()
                file.write(f"restrict,port-forwarding,{permits} {public}")

    def _trust(self, port: int) -> None:
        """Take B's public host key as its operator would hand it out."""
        public = (self._folder / "state" / "ssh_host_ed25519_key.pub").read_text()
        (self._folder / "known_hosts").write_text(f"{host_name('127.0.0.1', port)} {public}")


def _environment() -> dict[str, str]:
    """Ours, with this very package first; without the user's ssh-agent, whose keys B does not
    know and would count as failed tries."""
    environment = dict(os.environ)
    environment.pop("SSH_AUTH_SOCK", None)
    paths = [str(Path(relay.__file__).parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment
