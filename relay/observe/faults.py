"""Faults of ours where nobody is left to raise to: told with their trace, and gone on after."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from relay.errors import INTERNAL

_log: Final = logging.getLogger(INTERNAL)


@contextmanager
def whatever_fails(doing: str) -> Iterator[None]:
    """What is raised within is an internal error in the log, and ends only what is within."""
    try:
        yield
    except Exception:
        _log.exception("internal error while %s", doing)
