"""Whose our files are, and what others may do with them: what ssh and sshd ask before use.

Where there are no such modes (Windows), all is well.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from relay import system
from relay.errors import FileError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class TooOpen(FileError):
    """Others than its owner can reach a private key, or a password."""


def check_private(path: Path, status: os.stat_result, what: str = "private key") -> None:
    """Is a private key, or `what` it is, out of the reach of others? `status` is the opened file's.

    As ssh does, look at our own files only. A file of another user that we may read was lent to
    us on purpose (systemd's credentials, a group for certificates), and its mode is not ours to
    mend. Raises TooOpen.
    """
    if status.st_uid == system.user_id() and status.st_mode & _OTHERS:
        raise TooOpen(
            path,
            f"permissions {stat.S_IMODE(status.st_mode):04o} are too open: others than its owner "
            f"can reach the {what}, so it is not used; "
            f"make it private with `chmod 600 {path}`",
        )


def check_strict(path: Path, status: os.stat_result) -> None:
    """Can nobody but us and root change what the file says? That is StrictModes of sshd_config(5).

    As in sshd the file and each folder above it, up to our home or the root, must be ours or
    root's, and writable for nobody else. Unlike sshd we take a folder with the sticky bit (/tmp):
    there nobody can remove or rename what is another's, and all on the way down is checked.

    `status` is the opened file's. Raises FileError, and OSError if a folder cannot be looked at.
    """
    user = system.user_id()
    if user is None:
        return
    real = path.resolve()
    home = _home()
    _check(real, path, status, user)
    for folder in real.parents:
        _check(folder, path, folder.stat(), user)
        if folder == home:
            break


def _home() -> Path | None:
    """None: a user without one, as a service often is."""
    try:
        return Path.home().resolve()
    except RuntimeError:
        return None


def _check(real: Path, path: Path, status: os.stat_result, user: int) -> None:
    if status.st_uid not in (0, user):
        _refuse(path, f"{real} belongs to another user", f"chown {user} {real}")
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & _OTHERS_WRITE and not sticky:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        _refuse(path, f"others may write {real} (mode {mode})", f"chmod go-w {real}")


def _refuse(path: Path, problem: str, remedy: str) -> None:
    raise FileError(
        path, f"not used: {problem}; mend it with `{remedy}`, or see --strict-modes in --help"
    )
