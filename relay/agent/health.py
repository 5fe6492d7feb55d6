"""`--check`: the agent asks what it publishes whether it is there.

What an answer means is `Health`'s knowledge (relay/core/health.py); that what is down is withdrawn,
and published again later, is the desired forwards'. This asks, in time. It is imported, and runs,
only where something is to be checked.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import h11
from anyio.abc import TaskGroup, TaskStatus

from relay.agent.published import Publishable, service_name
from relay.core.forward import Forward, format_address
from relay.core.forwards import Desired
from relay.core.health import Check, Checks, Health, State
from relay.core.limits import KIB
from relay.events import Events
from relay.events.client import ServiceDown, ServiceUp
from relay.io.dial import dial, dial_unix
from relay.life.reconcile import Reconciler

MAX_HEAD: Final = 64 * KIB
"""Bytes of an HTTP answer that are read at most: its status and headers are all that is wanted."""

READ_AT_ONCE: Final = 4 * KIB

USER_AGENT: Final = "relay-agent"
"""By which who reads the service's log can tell these requests from others'."""

Probe = Callable[[Forward, Check], Awaitable[str]]
"""Asks a service once. Returns what is wrong with it, in a few words; empty: nothing. Raises
OSError."""


class Checker:
    """Asks all forwards that are to be checked, those that come while the program runs too."""

    def __init__(
        self,
        checks: Checks,
        desired: Reconciler[Publishable],
        events: Events,
        refused: Callable[[str], object],
        probe: Probe | None = None,
    ) -> None:
        """`refused` hears why B does not grant what is up again."""
        self._checks = checks
        self._desired = desired
        self._events = events
        self._refused = refused
        self._probe = probe or ask
        # Who is asked: the end of that, and whether there was a first answer.
        self._asked: dict[Desired[Publishable], tuple[anyio.CancelScope, anyio.Event]] = {}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. It has started when all that is wanted by then was asked once."""
        async with anyio.create_task_group() as tasks:
            for desired in self._new():
                tasks.start_soon(self._watch, desired, tasks)
            for _, answered in list(self._asked.values()):
                await answered.wait()
            task_status.started()
            while True:
                for desired in self._new():
                    tasks.start_soon(self._watch, desired, tasks)
                for desired, (watch, _) in self._asked.items():
                    if self._desired.forwards.get(desired.key) is not desired:
                        watch.cancel()
                await self._desired.change()

    def _new(self) -> list[Desired[Publishable]]:
        """Those that nobody asks yet; they count as asked."""
        found = []
        for desired in self._desired.forwards:
            if desired not in self._asked and _check(self._checks, desired.key) is not None:
                self._asked[desired] = anyio.CancelScope(), anyio.Event()
                found.append(desired)
        return found

    async def _watch(self, desired: Desired[Publishable], tasks: TaskGroup) -> None:
        """Ask one for as long as anybody knows it."""
        forward, check = desired.key, _check(self._checks, desired.key)
        assert isinstance(forward, Forward)
        assert check is not None
        rhythm = self._checks.rhythm
        health = Health(rhythm.count)
        watch, answered = self._asked[desired]
        try:
            with watch:
                while True:
                    began = anyio.current_time()
                    problem = f"no answer within {rhythm.timeout:g} s"
                    with anyio.move_on_after(rhythm.timeout):
                        try:
                            problem = await self._probe(forward, check)
                        except OSError as error:
                            problem = error.strerror or str(error)
                            problem = problem[:1].lower() + problem[1:]
                    if self._heard(desired, health, problem):
                        tasks.start_soon(self._say_if_refused, desired)
                    answered.set()
                    await anyio.sleep_until(began + rhythm.interval)
        finally:
            answered.set()
            del self._asked[desired]

    def _heard(self, desired: Desired[Publishable], health: Health, problem: str) -> bool:
        """One more answer. Is it up again?"""
        before, now = health.state, anyio.current_time()
        changed = health.result(problem, now)
        what = desired.key
        service = service_name(what, what.port or desired.port)
        assert isinstance(what, Forward)
        if health.state is State.DOWN and (changed or health.problem != desired.down):
            self._desired.down(desired, health.problem, health.since)
        if not changed:
            return False
        if health.state is State.DOWN:
            self._events.emit(ServiceDown(service, what.target, problem))
        elif before is State.DOWN:
            self._events.emit(ServiceUp(service, what.target, now - health.since))
            self._desired.down(desired, "", now)
            return True
        return False

    async def _say_if_refused(self, desired: Desired[Publishable]) -> None:
        """What was published is granted again, as a rule."""
        await self._desired.settled(desired)
        if desired.needed and desired.reason:
            self._refused(desired.reason)


def _check(checks: Checks, what: Publishable) -> Check | None:
    return checks.of(what) if isinstance(what, Forward) else None


async def ask(forward: Forward, check: Check) -> str:
    """The `Probe` of a running program: a connection, or a request and the head of its answer."""
    if forward.target_path:
        sock = await dial_unix(forward.target_path)
    else:
        sock = await dial(forward.host, forward.hostport)
    with sock:
        return await _ask_http(sock, _host(forward), check.path) if check.path else ""


def _host(forward: Forward) -> str:
    """The Host of a request (RFC 9110 §7.2)."""
    if forward.target_path:
        return "localhost"
    return format_address(forward.host, forward.hostport)


async def _ask_http(sock: socket.socket, host: str, path: str) -> str:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    headers = [("Host", host), ("User-Agent", USER_AGENT), ("Accept", "*/*")]
    request = h11.Request(
        method="GET", target=path, headers=[*headers, ("Connection", "close")]
    )  # fmt: skip
    await _send(
        sock, (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    )
    left = MAX_HEAD
    while left > 0:
        await anyio.wait_readable(sock)
        data = sock.recv(READ_AT_ONCE)
        if not data:
            return "it hung up without an answer"
        left -= len(data)
        connection.receive_data(data)
        try:
            status = _status(connection)
        except h11.RemoteProtocolError:
            return "its answer is no HTTP"
        if status:
            return "" if 200 <= status < 400 else f"HTTP {status}"
    return "its answer is too long"


def _status(connection: h11.Connection) -> int:
    """The final one (RFC 9110 §15.2: there may be others before it); 0: it is not there yet."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if not isinstance(event, h11.InformationalResponse):
            return 0


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        await anyio.wait_writable(sock)
        data = data[sock.send(data) :]
