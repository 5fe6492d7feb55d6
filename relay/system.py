"""What this system lacks, in one place: all else is written as for Linux.

Windows and macOS run the same programs. Where a name is missing from Python there, what stands
here does the same in another way, or does without and says what that costs. What is Linux's alone
and only makes things faster or sees a loss sooner (TCP_QUICKACK, epoll, sched_yield) is asked for
where it is used, and left out elsewhere.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

Buffer = bytes | bytearray | memoryview

# -- the event loop. Its libraries are imported when there is one: who only reads a configuration
# has no use for them.

HAVE_UVLOOP: Final = find_spec("uvloop") is not None
"""uvloop waits for sockets in C where asyncio does so in Python: an eighth more throughput and a
tenth less CPU time for each small message. Not to be had on Windows; asyncio does the same there,
slower."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """One that tells when a socket is ready, which Windows' default loop does not. (Its
    `select` takes 512 sockets there: enough for A and C.)"""
    if HAVE_UVLOOP:
        import uvloop

        return uvloop.new_event_loop()
    import asyncio

    return asyncio.SelectorEventLoop()


RELOAD: Final[int | None] = getattr(signal, "SIGHUP", None)
"""The signal that asks for the configuration to be read again."""


def open_signal_receiver(*numbers: int) -> AbstractContextManager[AsyncIterator[int]]:
    """anyio's, and the same for an event loop that knows no signals."""
    import asyncio

    import anyio

    loop = asyncio.get_running_loop()
    if type(loop).add_signal_handler is asyncio.AbstractEventLoop.add_signal_handler:
        return _open_wakeup_receiver(numbers)
    return anyio.open_signal_receiver(*map(signal.Signals, numbers))


@contextmanager
def _open_wakeup_receiver(numbers: Sequence[int]) -> Iterator[AsyncIterator[int]]:
    """By a socket that Python writes the numbers of signals to: signal.set_wakeup_fd()."""
    import asyncio

    import anyio

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    send, receive = anyio.create_memory_object_stream[int](math.inf)

    def woken() -> None:
        for number in ours.recv(4096):
            if number in numbers:
                send.send_nowait(number)

    loop = asyncio.get_running_loop()
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    loop.add_reader(ours, woken)
    try:
        yield receive
    finally:
        loop.remove_reader(ours)
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for one in (ours, theirs, send, receive):
            one.close()


# -- sockets

AF_UNIX: Final[int | None] = getattr(socket, "AF_UNIX", None)
"""None: no unix sockets; nothing has this family then."""


def unix_socket(kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A new unix socket. Raises OSError."""
    if AF_UNIX is None:
        raise OSError(None, "this system has no unix sockets")
    return socket.socket(AF_UNIX, kind)


def _send_joined(sock: socket.socket, buffers: Iterable[Buffer]) -> int:
    return sock.send(b"".join(buffers))


send_several: Final[Callable[[socket.socket, Iterable[Buffer]], int]] = getattr(
    socket.socket, "sendmsg", _send_joined
)
"""Send the buffers one after the other in one call; how many bytes that was. Without sendmsg(2)
they are copied together first."""


def keep_port(sock: socket.socket) -> None:
    """Before bind(): a port whose last owner has just ended is free, one that is used is not.
    SO_REUSEADDR means the latter everywhere but on Windows, where it would take over the port."""
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    sock.setsockopt(socket.SOL_SOCKET, option, 1)


def hung_up(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    """Those whose peers have closed or reset the connection, read or not."""
    if not hasattr(select, "poll"):
        return [sock for sock in sockets if _has_ended(sock)]
    # Linux sees a FIN behind unread bytes.
    closed = getattr(select, "POLLRDHUP", 0) or getattr(select, "POLLHUP", 0)
    poll = select.poll()
    found = {sock.fileno(): sock for sock in sockets}
    for descriptor in found:
        poll.register(descriptor, closed)
    return [found[descriptor] for descriptor, _ in poll.poll(0)]


def _has_ended(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


_PEERCRED: Final[int | None] = getattr(socket, "SO_PEERCRED", None)
_CREDENTIALS: Final = struct.Struct("3i")


def peer_user(sock: socket.socket) -> int | None:
    """Who has connected a unix socket, or listens at its other side. None where the system does not
    say: there only the modes of the file and its folder keep others out."""
    if _PEERCRED is None:
        return None
    size = _CREDENTIALS.size
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, _PEERCRED, size))
    return int(user)


# -- files and users


def _module(name: str) -> Any:
    """None where Python does not have it."""
    try:
        return import_module(name)
    except ImportError:
        return None


_fcntl, _grp, _pwd, _msvcrt = map(_module, ("fcntl", "grp", "pwd", "msvcrt"))

OPEN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""For every os.open(): no child gets the file, and its bytes are what they are."""


def user_id() -> int | None:
    """Who runs the program. None where files have no owner of that kind, and no mode that says
    what others may do."""
    return os.getuid() if hasattr(os, "getuid") else None


def set_mode(descriptor: int, mode: int) -> None:
    """fchmod(2). Windows' files are their folder's owner's."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)


def lock(descriptor: int) -> None:
    """Wait until no other program holds the file, by flock(2). Without it two programs that write
    at the same moment may each add a line that says the same."""
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """The same without waiting: is it ours now?"""
    if _fcntl is not None:
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def group_of_one(gid: int) -> bool:
    """Does the group have this user's name, and nobody else in it?"""
    if _grp is None or _pwd is None:
        return False
    try:
        group, user = _grp.getgrgid(gid), _pwd.getpwuid(user_id())
    except KeyError:
        return False
    return bool(group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name})


def as_bytes(descriptor: int) -> int:
    """Standard input or output, without a change of line ends on the way."""
    if _msvcrt is not None:
        _msvcrt.setmode(descriptor, getattr(os, "O_BINARY", 0))
    return descriptor


SHELL: Final = "/bin/sh"


def shell_command(command: str, shell: str = SHELL) -> list[str]:
    """What runs a command as sh reads it. Raises OSError where there is no such shell."""
    if not os.path.exists(shell):
        raise OSError(None, f"this system has no {shell} to run it")
    return [shell, "-c", command]
