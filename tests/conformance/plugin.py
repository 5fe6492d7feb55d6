"""A pytest plugin for the run of asyncssh's own tests: our classes in place of asyncssh's.

`python -m pytest -p tests.conformance.plugin --legs fast --outcomes FILE …` replaces the classes
before the tests are imported, bounds the time of each, and writes how each went.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import asyncssh
import asyncssh.connection
import asyncssh.public_key
import pytest

from tests.conformance.channels import is_of_channels
from tests.conformance.legs import LEGS, classes

PATIENCE: Final = 20
"""Seconds for one test; the slowest takes two. One that hangs fails, and the others go on."""

STOCK: Final = "stock"
"""asyncssh's own classes: does the test pass here at all?"""

RANK: Final = {"skipped": 0, "passed": 1, "failed": 2}
"""A test reports several times (set-up, call, its parts); the worst counts."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--legs", choices=[*LEGS, STOCK], required=True)
    parser.addoption("--outcomes", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(config.getoption("--outcomes")))
    kind = config.getoption("--legs")
    if kind != STOCK:
        for name, ours in classes(kind).items():
            setattr(asyncssh, name, ours)
            setattr(asyncssh.connection, name, ours)
    # Each test class encrypts a key, which takes a second and a package that we do not need.
    module: Any = asyncssh.public_key
    module.bcrypt = SimpleNamespace(kdf=_quick_kdf)
    module._bcrypt_available = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if is_of_channels(test_of(item.nodeid))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def test_of(node: str) -> str:
    """`file::class::test`"""
    return node.rpartition("/")[2]


def _quick_kdf(password: bytes, salt: bytes, size: int, *_: Any, **__: Any) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, 1, size)


class Outcomes:
    """Writes `{test: "passed" | "failed" | "skipped"}`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = test_of(report.nodeid)
        before = self._outcomes.get(test, "skipped")
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[test] = max(before, report.outcome, key=RANK.__getitem__)

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._outcomes))


@contextmanager
def _patience() -> Iterator[None]:
    """Cancel all tasks after a while, so that the test can undo what it patched."""

    def cancel() -> None:
        for task in asyncio.all_tasks():
            task.cancel(f"not done in {PATIENCE} s")

    def hangs(*_: object) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(cancel)

    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _patience():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    with _patience():
        return (yield)
