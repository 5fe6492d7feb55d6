"""The core is pure, and so are its tests: whoever opens a socket there fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NoReturn

import pytest


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a test of the core opens a socket")


@pytest.fixture(scope="package", autouse=True)
def no_socket() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", _refuse)
        yield
