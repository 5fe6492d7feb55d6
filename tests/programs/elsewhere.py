"""A Python of another system: what Windows lacks is taken away, then a program of ours is run.

    python -m tests.programs.elsewhere relay.cli.connect -L 3000:gpu1:8000 user@b

Nothing of ours has been imported by then. The standard library and the packages that we use have:
they know the other systems by sys.platform, which stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
from asyncio.selector_events import BaseSelectorEventLoop
from importlib import import_module
from typing import Any, Final, NoReturn

PACKAGES: Final = ("aiohappyeyeballs", "anyio._backends._asyncio", "asyncssh", "platformdirs")

MODULES: Final = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop")

NAMES: Final = {
    os: (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod",
        "fchown", "fork", "getegid", "geteuid", "getgid", "getgroups", "getuid", "lchown", "mkfifo",
        "sched_yield", "sched_getaffinity", "setsid", "uname",
    ),
    socket: (
        "AF_UNIX", "CMSG_LEN", "SCM_RIGHTS", "SO_PEERCRED", "SO_REUSEPORT", "TCP_CONGESTION",
        "TCP_QUICKACK", "TCP_USER_TIMEOUT", "recv_fds", "send_fds",
    ),
    select: tuple(name for name in dir(select) if "poll" in name.lower()),
    selectors: ("EpollSelector", "PollSelector"),
    signal: (
        "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP",
        "SIGUSR1", "SIGUSR2", "pthread_sigmask", "setitimer", "sigwait",
    ),
    asyncio: ("open_unix_connection", "start_unix_server"),
}  # fmt: skip
"""Not there, as a module's name is not."""

METHODS: Final = ("recvmsg", "recvmsg_into", "sendmsg", "sendmsg_afalg")
"""Of sockets."""


class _Missing:
    """In a class, the name of something that its base has and that is not to be found."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(self._name)


class DefaultLoop(BaseSelectorEventLoop):
    """Windows' default loop (a proactor) has none of these; nor has any loop there signals."""

    def _not_there(self, *_: Any) -> NoReturn:
        raise NotImplementedError

    add_reader = remove_reader = add_writer = remove_writer = _not_there


class _Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = DefaultLoop


def socketpair(*_: Any) -> tuple[socket.socket, socket.socket]:
    """As the standard library makes one where the system does not: over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


class _Popen(subprocess.Popen[Any]):
    """There is no /bin/sh."""

    def __init__(self, command: Any, *arguments: Any, **options: Any) -> None:
        if options.get("shell") or command[0] == "/bin/sh":
            raise FileNotFoundError(2, "No such file or directory")
        super().__init__(command, *arguments, **options)


def take_away() -> None:
    for name in PACKAGES:
        import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    os.environ["USERNAME"] = "somebody"
    os.environ.pop("SHELL", None)
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in METHODS:
        missing = _Missing()
        missing.__set_name__(socket.socket, name)
        setattr(socket.socket, name, missing)
    socket.socketpair = socketpair
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc]
    subprocess.Popen = _Popen  # type: ignore[misc]
    asyncio.SelectorEventLoop = BaseSelectorEventLoop  # type: ignore[misc]
    asyncio.set_event_loop_policy(_Policy())
    exists = os.path.exists
    os.path.exists = lambda path: path != "/bin/sh" and exists(path)


if __name__ == "__main__":
    take_away()
    _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
