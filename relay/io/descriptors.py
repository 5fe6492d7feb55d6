"""The descriptors of the process: who may have the last of them."""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from typing import Any, Final

SPARE: Final = 64
"""Descriptors that nobody who has not logged in gets: files are read meanwhile, and what was closed
in this turn of the loop is free in the next."""

SPARE_FOR_LEGS: Final = 256
"""Descriptors that streams leave to legs: whoever opens one stream after another must not keep
anybody from logging in."""


def _resource() -> Any:
    """The module of that name; None where there is none, which is Windows."""
    try:
        return import_module("resource")
    except ImportError:
        return None


_RESOURCE: Final = _resource()


def raise_limit() -> None:
    """Have as many as the system permits: 1,024 is what a process gets for the sake of select(2),
    which nothing here calls."""
    if _RESOURCE is None:
        return
    try:
        soft, hard = _RESOURCE.getrlimit(_RESOURCE.RLIMIT_NOFILE)
        if soft != hard:  # A service's system call filter may kill for the next one.
            _RESOURCE.setrlimit(_RESOURCE.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # More than there may be: macOS says that there is no limit.


def _limit() -> int:
    try:
        soft: int = _RESOURCE.getrlimit(_RESOURCE.RLIMIT_NOFILE)[0]
    except (AttributeError, OSError):
        return sys.maxsize
    return soft if soft != _RESOURCE.RLIM_INFINITY else sys.maxsize


def scarce(sock: socket.socket, spare: int = SPARE) -> bool:
    """Is this socket, just opened, one of the last `spare` that the process may have, or of its
    last quarter if that is less? POSIX gives the lowest number that is free, so that all below it
    are taken."""
    limit = _limit()
    return sock.fileno() >= limit - min(spare, limit // 4)
