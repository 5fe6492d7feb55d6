"""relay/ssh/keepalive.py: ClientAliveInterval and ClientAliveCountMax of sshd_config(5)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from relay.core.requests import Answered
from relay.io.engine import Engine
from relay.ssh.keepalive import Keepalive
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from tests.ssh.bench import HOST_KEY, NoHost

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("interval", "count_max", "patience"),
    [
        (15, 3, 60),
        (0.5, 1, 1),
        (0, 3, 0),
        (15, 0, 0),
        # The kernel counts in milliseconds, up to 2^31.
        (DAY / 4, 3, DAY),
        (1e9, 3, 0),
    ],
)
def test_how_long_a_silent_client_is_borne(interval: float, count_max: int, patience: int) -> None:
    async def main() -> float:
        options = server_options(
            [HOST_KEY], (), client_alive_interval=interval, client_alive_count_max=count_max
        )
        return ServerLeg(Engine(asyncio.get_running_loop()), options).keepalive.patience

    assert asyncio.run(main()) == patience


def test_the_kernel_asks_a_client_too() -> None:
    """TCPKeepAlive, which is on by default: where ClientAliveInterval is 0 nobody else asks."""

    async def main() -> int:
        options = server_options([HOST_KEY], (), client_alive_interval=0)
        leg = ServerLeg(Engine(asyncio.get_running_loop()), options)
        leg.host = cast(Any, NoHost())
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as sock,
        ):
            leg.attach(sock)
            asked = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            leg.abort()
            await asyncio.sleep(0)
        return asked

    assert asyncio.run(main()) != 0


@dataclass
class Timer:
    when: float
    call: Callable[[], object]
    done: bool = False

    def cancel(self) -> None:
        self.done = True


class Clock:
    """A loop's, which a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        self._timers.append(Timer(self.now + seconds, call))
        return self._timers[-1]

    def until(self, end: float) -> None:
        while due := [one for one in self._timers if one.when <= end and not one.done]:
            timer = min(due, key=lambda one: one.when)
            self.now = timer.when
            timer.done = True
            timer.call()
        self.now = end


class Peer:
    """The leg, and whether its peer answers."""

    def __init__(self, interval: float, count_max: int) -> None:
        self.clock = Clock()
        self.listening = True
        self.answers = False
        self.asked: list[float] = []
        self.given_up: list[float] = []
        self.keepalive = Keepalive(cast(asyncio.AbstractEventLoop, self.clock), self)
        self.keepalive.set(interval, count_max)

    def ask_whether_alive(self, answered: Answered) -> None:
        self.asked.append(self.clock.now)
        if self.answers:
            self.keepalive.heard = self.clock.now
            answered(None)

    def gives_no_answer(self) -> None:
        self.given_up.append(self.clock.now)
        self.keepalive.stop()


def test_who_is_silent_is_asked_and_given_up() -> None:
    peer = Peer(10, 2)
    peer.keepalive.begin()
    peer.clock.until(100)
    assert (peer.asked, peer.given_up) == ([10, 20], [30])


def test_who_answers_is_asked_again_and_again() -> None:
    peer = Peer(10, 1)
    peer.answers = True
    peer.keepalive.begin()
    peer.clock.until(35)
    assert (peer.asked, peer.given_up) == ([10, 20, 30], [])


def test_who_was_heard_is_asked_so_long_after_that() -> None:
    peer = Peer(10, 1)
    peer.keepalive.begin()
    peer.clock.until(7)
    peer.keepalive.heard = 7
    peer.clock.until(20)
    assert (peer.asked, peer.keepalive.silence) == ([17], 13)


def test_whom_we_do_not_listen_to_is_not_asked() -> None:
    peer = Peer(10, 1)
    peer.keepalive.begin()
    peer.listening = False
    peer.clock.until(95)
    assert peer.asked == []
    peer.listening = True
    peer.clock.until(125)
    assert (peer.asked, peer.given_up) == ([100], [110])


def test_nobody_is_asked_before_the_login_nor_after_the_end() -> None:
    peer = Peer(10, 1)
    peer.clock.until(100)
    peer.keepalive.begin()
    peer.keepalive.stop()
    peer.keepalive.set(5, 1)
    peer.clock.until(200)
    assert (peer.asked, peer.given_up) == ([], [])


@pytest.mark.parametrize(("interval", "asked"), [(0, []), (5, [8])])
def test_what_is_set_holds_at_once(interval: float, asked: list[float]) -> None:
    peer = Peer(10, 3)
    peer.keepalive.begin()
    peer.clock.until(3)
    peer.keepalive.set(interval, 3)
    peer.clock.until(9)
    assert peer.asked == asked
