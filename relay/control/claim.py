"""The control socket's file: made where nobody else could, and taken from nobody who listens.

The folder of the default is this user's alone. One that was named by ControlPath may be anywhere:
it must not be one where others could put a socket in place of ours, but a sticky one like /tmp may
be shared. What stands at the path is replaced if it is a socket that nobody listens at any more; a
living one stays its program's, and anything else is somebody's file.

To look and to replace is one step under the lock of the folder, so that of two programs that start
at once each sees what the other did.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio

from relay.control.place import ROOT
from relay.core.forward import MAX_PATH_LENGTH
from relay.errors import AddressError
from relay.io.local import listen_unix
from relay.system import AF_UNIX, OPEN, try_lock, unix_socket, user_id
from relay.trust.hostkeys import make_private_directory

LOCK_TRIES: Final = 40
LOCK_PAUSE: Final = 0.05
"""Another program holds the lock of the folder for a millisecond; who holds it longer is no program
of ours, and is not waited for longer than these times and seconds."""


class InUse(AddressError):
    """Another program listens there."""


def make_folder(folder: Path) -> None:
    """The default's folder, for this user alone. Raises `AddressError`."""
    try:
        make_private_directory(folder)
    except OSError as error:
        raise AddressError(f"{folder}: {error.strerror or error}") from None
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user_id() or found.st_mode & 0o077:
        raise AddressError(f"{folder}: must be a folder of yours that nobody else can enter (0700)")


class ControlSocket:
    """A listening socket and its file."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self.sock = sock
        self.path = path
        self._file = _identity(path)

    def close(self) -> None:
        """Remove the file, if it is this socket's still. (As long as this one listens, no program
        of ours puts another in its place.)"""
        try:
            if _identity(self.path) == self._file:
                os.unlink(self.path)
        except OSError:
            pass  # It is gone already, or the folder is.
        self.sock.close()


async def listen(path: Path) -> ControlSocket:
    """Raises `InUse` when another program has it, `AddressError`."""
    if AF_UNIX is None:
        raise AddressError("this system has no unix sockets")
    if len(os.fsencode(path)) > MAX_PATH_LENGTH:
        raise AddressError(f"{path}: a unix socket's path has at most {MAX_PATH_LENGTH} bytes")
    check_folder(path.parent)
    descriptor = _open_folder(path.parent)
    try:
        await _lock(descriptor, path.parent)
        _remove_stale(path)
        return ControlSocket(listen_unix(str(path)), path)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def check_folder(folder: Path) -> None:
    """Raises `AddressError` where others could put a socket of theirs in the place of ours."""
    try:
        found = os.stat(folder)
    except OSError as error:
        raise AddressError(f"{folder}: {error.strerror or error}") from None
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid not in (user_id(), ROOT):
        raise AddressError(f"{folder}: must be yours or root's")
    if others and not found.st_mode & stat.S_ISVTX:
        raise AddressError(f"{folder}: others can write to it (chmod go-w)")


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | OPEN)
    except OSError as error:
        raise AddressError(f"{folder}: {error.strerror or error}") from None


async def _lock(descriptor: int, folder: Path) -> None:
    for _ in range(LOCK_TRIES):
        if try_lock(descriptor):
            return
        await anyio.sleep(LOCK_PAUSE)
    raise AddressError(f"{folder}: another program has locked it")


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AddressError(f"{path}: {error.strerror or error}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"{path}: is there, and is no socket")
    with closing(unix_socket()) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return _unlink(path)
    raise InUse(f"{path}: another program listens there")


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise AddressError(f"{path}: {error.strerror or error}") from None
