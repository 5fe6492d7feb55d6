"""The load at A on many streams at once, from one thread on epoll.

Threads would wait for the interpreter's lock, and the figures would be the lock's.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from benchmarks.errors import BrokenError
from benchmarks.load import ECHO, REQUEST, STALL_SECONDS, begin_echo, receive_reply

Connect = Callable[[], socket.socket]


def requests_per_second(connect: Connect, streams: int, seconds: float) -> float:
    """All streams send a request, and the next one when they have the reply."""
    members = [connect() for _ in range(streams)]
    try:
        for member in members:
            begin_echo(member)
        return _exchange({member.fileno(): member for member in members}, seconds)
    finally:
        for member in members:
            member.close()


def _exchange(members: dict[int, socket.socket], seconds: float) -> float:
    """Requests stop after `seconds`; the last replies are waited for, and counted."""
    ready, replies = _Ready(), 0
    start = time.perf_counter()
    deadline = start + seconds
    for member in members.values():
        ready.add(member)
        member.send(REQUEST)
    under_way = len(members)
    while under_way:
        going_on = time.perf_counter() < deadline
        for number in ready.wait():
            receive_reply(members[number])
            replies += 1
            if going_on:
                members[number].send(REQUEST)
            else:
                under_way -= 1
    return replies / (time.perf_counter() - start)


def streams_per_second(connect: Connect, count: int, at_once: int) -> float:
    """Connect, a request and its reply, close: so many in all, so many at any time."""
    ready, members, left = _Ready(), dict[int, socket.socket](), count
    start = time.perf_counter()
    try:
        while left or members:
            while left and len(members) < at_once:
                member = connect()
                member.send(ECHO + REQUEST)
                members[member.fileno()] = member
                ready.add(member)
                left -= 1
            for number in ready.wait():
                receive_reply(members[number])
                members.pop(number).close()  # which also takes it out of `ready`
    finally:
        for member in members.values():
            member.close()
    return count / (time.perf_counter() - start)


class _Ready:
    """Which streams have something to read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, stream: socket.socket) -> None:
        self._epoll.register(stream, select.EPOLLIN)

    def wait(self) -> list[int]:
        """Their descriptors."""
        events = self._epoll.poll(STALL_SECONDS)
        if not events:
            raise BrokenError(f"nothing moved for {STALL_SECONDS} s")
        return [number for number, _ in events]
