"""What stands in for what a system lacks does the same as what is there."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay import system


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for sock in (ours, theirs):
            sock.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("send", [system.send_several, system._send_joined])
def test_buffers_leave_in_their_order(send: Callable[..., int]) -> None:
    with pair() as (ours, theirs):
        assert send(ours, [b"one ", memoryview(b"two "), bytearray(b"three")]) == 13
        assert theirs.recv(100) == b"one two three"
        # Of what does not fit, a part is sent.
        size = send(ours, [bytes(1 << 20)] * 4)
        assert 0 < size < 4 << 20


@pytest.mark.parametrize("poll", [True, False])
def test_who_has_hung_up(poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not poll:
        monkeypatch.delattr("select.poll")
    with pair() as (ours, theirs), pair() as (others, kept):
        assert system.hung_up([ours, others]) == []
        kept.send(b"x")
        theirs.close()
        assert system.hung_up([ours, others]) == [ours]


@pytest.mark.parametrize("make", [system.new_event_loop, BaseSelectorEventLoop])
def test_signals(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def receive() -> list[int]:
        with system.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR1)
            return [await anext(signals), await anext(signals)]

    before = signal.getsignal(signal.SIGUSR1)
    with asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(receive()) == [signal.SIGUSR2, signal.SIGUSR1]
        assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_shell(tmp_path: Path) -> None:
    assert system.shell_command("exit 3") == ["/bin/sh", "-c", "exit 3"]
    with pytest.raises(OSError, match="has no") as caught:
        system.shell_command("x", str(tmp_path / "sh"))
    assert caught.value.strerror == f"this system has no {tmp_path / 'sh'} to run it"


def test_a_port_that_is_in_use_stays_so() -> None:
    with socket.socket() as first, socket.socket() as second:
        system.keep_port(first)
        system.keep_port(second)
        first.bind(("127.0.0.1", 0))
        first.listen()
        with pytest.raises(OSError, match="in use"):
            second.bind(first.getsockname())
