"""A running relay-server, as far as others may look at it and change it: the seam that the control
socket and `--http` hang on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from relay.server.relay import Relay


@dataclass(frozen=True, slots=True)
class RunningServer:
    """B while it runs, for who looks at it and changes it."""

    relay: Relay
    reload: Callable[[], None]
    """Raises `LocalError`; then everything stays as it was."""
    drain: Callable[[], object]
    """End as on a signal."""


Operate = Callable[[RunningServer], Coroutine[Any, Any, None]]
"""Runs beside B for as long as it does. Returns early, or not at all."""
