"""Where the control socket of a program is, and who may stand at its other side."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relay.system import peer_user, user_id

FOLDER: Final = "ssh-relay"
"""In the runtime folder of the user."""

SERVER_SOCKET: Final = "control.sock"
"""relay-server's, in its state folder."""

ROOT: Final = 0


def default_folders(environ: Mapping[str, str], state_dir: Path) -> list[Path]:
    """In the runtime folder, which systemd makes for who has logged in, or for a service
    (RuntimeDirectory=); else where the program keeps its state. The first one counts."""
    folders = []
    for name in ("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"):
        given = environ.get(name, "").partition(":")[0]
        # "If XDG_RUNTIME_DIR is relative, consider it as invalid."
        if given.startswith("/") and os.path.isdir(given):
            folders.append(Path(given, FOLDER))
    return [*folders, state_dir / "control"]


def is_ours(sock: socket.socket) -> bool:
    """Is the other side a process of this user, or of root?"""
    return peer_user(sock) in (None, user_id(), ROOT)


def is_believed(sock: socket.socket, path: Path) -> bool:
    """May we believe what answers at this path? To root, a service with an account of its own is
    as good, in its own folder."""
    owner = os.stat(path.parent).st_uid if user_id() == ROOT else None
    return is_ours(sock) or peer_user(sock) == owner
