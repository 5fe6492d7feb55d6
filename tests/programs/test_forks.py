"""A program that was forked is what it would be if it had been executed: but for its session, which
is its own, so that it has no terminal to ask at."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.programs import itself
from tests.programs.forks import Fork, Server
from tests.programs.process import Process, environment

ITSELF = itself.__name__


@pytest.fixture(autouse=True)
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that has not what its forks are to have."""
    server = Server(environment(tmp_path) | {"LEFT": "over"})
    monkeypatch.setattr(Server, "of_all", server)
    before = os.umask(0o027)
    yield
    os.umask(before)
    server.close()


@pytest.fixture
def executed(tmp_path: Path, words: list[str]) -> Iterator[Process]:
    process = Process("executed", [sys.executable, "-m", ITSELF, *words], tmp_path)
    yield process
    process.stop()


@pytest.fixture
def forked(tmp_path: Path, words: list[str]) -> Iterator[Process]:
    process = Process("forked", [ITSELF, *words], tmp_path, Fork)
    yield process
    process.stop()


@pytest.mark.parametrize("words", [["end", "0"], ["end", "3"], ["say", "no"], ["raise"], ["die"]])
def test_it_has_what_an_executed_one_has(executed: Process, forked: Process) -> None:
    codes = executed.end(), forked.end()
    (told, *rest), (told_too, *rest_too) = executed.lines, forked.lines
    assert json.loads(told_too) == json.loads(told)
    assert codes[1] == codes[0]
    # Chance; and of what follows, the trace of an exception has another beginning.
    assert rest_too[0] != rest[0]
    assert rest_too[1:][-1:] == rest[1:][-1:]


@pytest.mark.parametrize("words", [["wait"]])
def test_it_is_signalled_by_its_number(forked: Process) -> None:
    forked.wait_for("environment")
    forked.signal(signal.SIGSTOP)
    assert forked.is_running
    forked.signal(signal.SIGCONT)
    forked.signal(signal.SIGTERM)
    assert forked.end() == -signal.SIGTERM
    assert not forked.is_running
    forked.signal(signal.SIGTERM)  # Nobody else's by now.


def test_several_at_once(tmp_path: Path) -> None:
    first, second, third = (
        Process("forked", [ITSELF, *words], tmp_path, Fork)
        for words in (["wait"], ["end", "1"], ["end", "2"])
    )
    assert third.end() == 2
    assert second.end() == 1
    assert first.is_running
    assert first.stop() == -signal.SIGTERM


def test_a_server_that_ends_is_no_silence(tmp_path: Path) -> None:
    forked = Process("forked", [ITSELF, "wait"], tmp_path, Fork)
    forked.wait_for("environment")
    program = psutil.Process(forked.pid)
    try:
        program.parent().kill()
        with pytest.raises(RuntimeError, match=r"the server of forks has ended:\nexit code -9"):
            forked.end()
        with pytest.raises(RuntimeError, match="the server of forks has ended"):
            Process("forked", [ITSELF, "end", "0"], tmp_path, Fork)
    finally:
        program.kill()
