"""Programs of ours as forks of one process that has imported them.

To import what they stand on costs a program half a second of CPU, and the tests start hundreds. So
a process that runs tests starts one server of forks, `python -m tests.programs.forks`, which
imports everything once and has neither threads nor an event loop. For each program it forks, and
the child takes over what `subprocess.Popen` would have given to a new process: words, environment,
folder, umask, standard streams, and no other descriptor. It ends as any Python does, and the server
tells how.

Whether a program starts by itself, and with what, is seen by the tests that execute one, such as
`test_demo.py`, `test_hangup.py` and `test_printed_units.py`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, ClassVar, Final

PROGRAMS: Final = ("relay.cli.server", "relay.cli.agent", "relay.cli.connect")

LATER: Final = (
    "relay.cli.agent_config", "relay.cli.connect_config", "relay.cli.start", "relay.cli.run",
    "relay.settings.toml", "relay.server.program", "relay.agent.program", "relay.opener.program",
    "anyio._backends._asyncio", "uvloop", "encodings.idna",
)  # fmt: skip
"""What they import when they know that they will run."""

LONGEST: Final = 1 << 17
"""Bytes of a request: all words and the environment."""

_NUMBER: Final = struct.Struct("=i")


class Fork:
    """A program of ours, to be used as a `subprocess.Popen`; `command` begins with its module."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: dict[str, str],
        stdin: IO[Any],
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        # Two numbers come here: its process id, and how it ended. The second is only looked at, so
        # that any thread may wait for it.
        self._news, theirs = socket.socketpair()
        self._server = Server.of_this_process(env)
        request = {"words": command, "cwd": str(cwd), "env": env, "umask": _umask()}
        with theirs:
            streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
            self._server.ask(json.dumps(request).encode(), [*streams, theirs.fileno()])
        self.pid = self._number(self._news.recv(_NUMBER.size))

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._news, select.POLLIN)
            if not poll.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number(self._news.recv(_NUMBER.size, socket.MSG_PEEK))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # It ends just now.
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _number(self, data: bytes) -> int:
        if not data:
            raise self._server.ended()
        return int(_NUMBER.unpack(data)[0])


class Server:
    """The other process. It ends when its socket does."""

    of_all: ClassVar[Server | None] = None

    _one_at_a_time: Final = threading.Lock()

    @classmethod
    def of_this_process(cls, env: dict[str, str]) -> Server:
        """Started with the environment of the first program: what Python itself reads of that, at
        its start, is the same for all of them."""
        with cls._one_at_a_time:
            cls.of_all = cls.of_all or cls(env)
            return cls.of_all

    def __init__(self, env: dict[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                env=env,
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        atexit.register(self.close)

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        try:
            socket.send_fds(self._control, [request], descriptors)
        except OSError:
            raise self.ended() from None

    def ended(self) -> RuntimeError:
        code = self._popen.wait()
        self._log.seek(0)
        return RuntimeError(f"the server of forks has ended:\n{self._log.read()}exit code {code}")

    def close(self) -> None:
        self._control.close()
        self._popen.wait()


def _umask() -> int:
    """To ask umask(2) for it is to change it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


# -- in the server


def _serve(control: socket.socket) -> Callable[[], Any] | None:
    """Fork for each request. Returns in each child, with its program; in the server at its end."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    """By what watches a child (pidfd_open(2)): its process id, and where its news go."""
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                pid, news = children.pop(ready)
                _tell(news, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(news)
                os.close(ready)
                continue
            request, descriptors, _, _ = socket.recv_fds(control, LONGEST, 4)
            if not request:
                return None
            *streams, news = descriptors
            pid = os.fork()
            if not pid:
                control.detach()
                return _become(json.loads(request), streams)
            for stream in streams:
                os.close(stream)
            _tell(news, pid)
            watch = os.pidfd_open(pid)
            children[watch] = pid, news
            poll.register(watch, select.POLLIN)


def _tell(news: int, number: int) -> None:
    try:
        os.write(news, _NUMBER.pack(number))
    except BrokenPipeError:
        pass  # Nobody waits for this one any more.


def _become(request: dict[str, Any], streams: Sequence[int]) -> Callable[[], Any]:
    """Be what a new process would be that has been told to run a module."""
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # Whoever runs the tests in a terminal is not asked anything by the programs.
    os.setsid()
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    name, *arguments = request["words"]
    module = import_module(name)
    sys.path[0] = os.getcwd()
    sys.argv[:] = [str(module.__file__), *arguments]
    return module.main  # type: ignore[no-any-return]


def _main() -> None:
    for name in PROGRAMS + LATER:
        import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread is lost in a fork"
    # What is there now is nobody's garbage: no child looks through it, and so none copies it.
    gc.freeze()
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    if program is not None:
        raise SystemExit(program())


if __name__ == "__main__":
    _main()
