"""One request to a running program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from relay.control.api import HOST, JSON
from relay.control.limits import SERVER_WAIT
from relay.control.place import is_believed
from relay.errors import LegLost, Refused
from relay.system import unix_socket

PATIENCE: Final = 3 * SERVER_WAIT
"""Seconds: longer than any answer takes."""


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: dict[str, Any]

    @property
    def error(self) -> str:
        """Why not; empty: it was done."""
        return "" if self.status < 300 else str(self.body.get("error", f"status {self.status}"))


class UnixConnection(HTTPConnection):
    """http.client's, over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(HOST, timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        sock = self.sock = unix_socket()
        sock.settimeout(self.timeout)
        sock.connect(str(self._path))
        if not is_believed(sock, self._path):
            raise Refused(f"{self._path}: another user listens there")


def find(paths: Sequence[Path]) -> Path:
    """The first at which a program listens. Raises `LegLost`."""
    for path in paths:
        try:
            with closing(unix_socket()) as sock:
                sock.connect(str(path))
                return path
        except OSError:
            pass
    raise LegLost(f"no program is there: looked at {' and '.join(map(str, paths))}")


def ask(
    path: Path,
    method: str,
    target: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, object] | None = None,
) -> Answered:
    """Raises `LegLost` when no program answers there, `Refused` when it is another user's."""
    if query:
        target = f"{target}?{urlencode(query)}"
    connection = UnixConnection(path)
    try:
        headers = {"Content-Type": JSON} if body is not None else {}
        connection.request(method, target, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return Answered(response.status, json.loads(response.read()))
    except (FileNotFoundError, ConnectionRefusedError):
        raise LegLost(f"no program is there: looked at {path}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LegLost(f"{path}: no answer: {reason}") from None
    finally:
        connection.close()
