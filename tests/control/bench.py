"""A control socket without a program behind it, and a client for it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from relay.control.client import Answered, ask
from relay.control.kinds import OF_AGENT
from relay.control.server import operate
from relay.core.backoff import Backoff
from relay.core.forward import Forward
from relay.core.forwards import Desired
from relay.errors import Refused
from relay.events import Events
from relay.life.reconcile import Reconciler
from relay.life.running import Running
from relay.life.supervise import Supervisor
from relay.observe.log import EventLog


@dataclass
class Program:
    """What an agent would be: B grants what is not called `no`."""

    path: Path
    desired: Reconciler[Forward] = field(
        default_factory=lambda: Reconciler(lambda: Backoff(lambda: 1.0))
    )
    streams: int = 0
    exited: anyio.Event = field(default_factory=anyio.Event)
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)

    async def ask(self, desired: Desired[Forward], granted: Callable[[int], None]) -> None:
        self.asked.append(str(desired.key))
        if self.silent:
            await anyio.sleep_forever()
        if desired.key.bind == "no":
            raise Refused("no: refused by the server")
        granted(desired.key.port or 40_000)

    async def cancel(self, desired: Desired[Forward]) -> None:
        self.withdrawn.append(str(desired.key))

    async def call(self, method: str, target: str, **more: Any) -> Answered:
        """Ask in a thread, as another program would."""
        return await anyio.to_thread.run_sync(
            partial(ask, self.path, method, target, **more), abandon_on_cancel=True
        )

    async def forward(self, text: str, kind: str = "remote") -> Answered:
        body = {"kind": kind, "forward": text}
        return await self.call("POST", "/v1/forwards", body=body)

    async def cancels(self, text: str, kind: str = "remote") -> Answered:
        return await self.call("DELETE", "/v1/forwards", query={"kind": kind, "forward": text})

    async def says(self, data: bytes) -> bytes:
        """All that is answered to these bytes, until the other side closes."""

        def talk() -> bytes:
            with self.connect() as sock:
                return talk_to(sock, data)

        return await anyio.to_thread.run_sync(talk, abandon_on_cancel=True)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(self.path))
        return sock


def talk_to(sock: socket.socket, data: bytes) -> bytes:
    try:
        sock.sendall(data)
    except BrokenPipeError:
        pass
    answer = b""
    while chunk := sock.recv(65536):
        answer += chunk
    return answer


def bodies(answer: bytes) -> list[Any]:
    """The JSON of the answers, one after the other."""
    return [json.loads(line) for line in answer.splitlines() if line.startswith(b"{")]


@asynccontextmanager
async def program(folder: Path) -> AsyncIterator[Program]:
    """One that runs, with its control socket open."""
    one = Program(folder / "control" / "socket")
    supervisor = Supervisor("b:22", Events(), once=True, keep_trying=False)
    running = Running(supervisor, one.desired, lambda: one.streams, dict, lambda: one.exited.set())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.desired.run, one)
        tasks.start_soon(
            partial(
                operate, "relay-agent", one.path, OF_AGENT, EventLog("test"), running,
                is_default=True,
            )
        )  # fmt: skip
        while not one.path.exists():  # noqa: ASYNC110
            await anyio.sleep(0.01)
        yield one
        tasks.cancel_scope.cancel()
