"""What can be asked of relay-server: who is there, what is published and open, and its end."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

import relay
from relay.control import openapi_server as described
from relay.control.api import Answer, Call, Route
from relay.control.openapi import document
from relay.control.place import SERVER_SOCKET
from relay.control.server import control
from relay.errors import LocalError, UsageError
from relay.observe.log import EventLog
from relay.server.counters import Reading
from relay.server.kick import kick, stream_id
from relay.server.running import RunningServer
from relay.ssh.listener import Visitor
from relay.ssh.server import ServerLeg

PROGRAM: Final = "relay-server"
ROWS_PER_TURN: Final = 32
"""Rows that are made before it is the streams' turn: half a millisecond. There may be ten thousand
legs."""

VERSION: Final = 1
"""Of every answer. Fields are added without another one; none is dropped or changed."""


async def operate(folder: Path, log: EventLog, running: RunningServer) -> None:
    """Let B be looked at and changed, until it is asked to end."""
    operations = ServerOperations(running)
    path = folder / SERVER_SOCKET
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(control, path, operations.routes(), log, is_default=True, folder=False)
        )
        await operations.draining.wait()
        tasks.cancel_scope.cancel()
    running.drain()


class ServerOperations:
    """The routes of one B."""

    def __init__(self, running: RunningServer) -> None:
        self._running = running
        self._relay = running.relay
        self._began = anyio.current_time()
        # Somebody has asked for the end.
        self.draining = anyio.Event()

    def routes(self) -> list[Route]:
        routes = [
            Route("GET", "/v1/status", self._status, described.STATUS),
            Route("GET", "/v1/legs", self._listed("legs", self._legs), described.LEGS),
            Route("GET", "/v1/services", self._listed("services", self._services),
                  described.SERVICES),
            Route("GET", "/v1/streams", self._listed("streams", self._streams), described.STREAMS),
            Route("POST", "/v1/kick", self._kick, described.KICK, body=("what",)),
            Route("POST", "/v1/reload", self._reload, described.RELOAD),
            Route("POST", "/v1/drain", self._drain, described.DRAIN),
        ]  # fmt: skip
        whole = document(PROGRAM, routes, described.SCHEMAS)

        async def describe_all(call: Call) -> Answer:
            return Answer(200, whole)

        return [*routes, Route("GET", "/openapi.json", describe_all, described.OPENAPI)]

    def _listed(
        self, name: str, rows: Callable[[Reading], Iterator[Mapping[str, object]]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        async def answer(call: Call) -> Answer:
            found = []
            for row in rows(self._relay.reading()):
                found.append(row)
                if len(found) % ROWS_PER_TURN == 0:
                    await anyio.lowlevel.checkpoint()
            return Answer(200, {"version": VERSION, name: found})

        return answer

    # -- looking

    async def _status(self, call: Call) -> Answer:
        server, counters = self._relay, self._relay.counters
        reading, traffic = server.reading(), server.services.traffic
        received, sent = reading.moved(traffic)
        return Answer(200, {
            "version": VERSION,
            "program": PROGRAM,
            "release": relay.__version__,
            "pid": os.getpid(),
            "uptime": round(anyio.current_time() - self._began, 3),
            "legs": server.legs.logged_in,
            "connections": len(server.legs),
            "services": len(server.services),
            "streams": traffic.open,
            "streams_opened": traffic.opened,
            "bytes_there": sent,
            "bytes_back": received,
            "logins": counters.logins,
            "logins_failed": counters.logins_failed,
            "refusals": [
                {"what": what, "why": why, "count": count}
                for (what, why), count in sorted(counters.refusals.items())
            ],
            "limits_hit": dict(sorted(counters.limits.items())),
        })  # fmt: skip

    def _legs(self, reading: Reading) -> Iterator[Mapping[str, object]]:
        services = Counter(route.leg for route in self._relay.services)
        for leg in sorted(self._relay.legs, key=lambda leg: leg.number):
            if leg.logged_in:
                yield self._leg(leg, reading, services[leg])

    def _leg(self, leg: ServerLeg, reading: Reading, services: int) -> Mapping[str, object]:
        name, info = leg.name, leg.get_extra_info
        received, sent = reading.moved(leg.traffic)
        return {
            "leg": name.number,
            "fingerprint": name.fingerprint,
            "comment": name.comment,
            "peer": name.peer,
            "user": info("username", ""),
            "client": info("client_version", ""),
            "cipher": info("send_cipher", ""),
            "seconds": _age(leg.since),
            "services": services,
            "streams": leg.traffic.open,
            "bytes_received": received,
            "bytes_sent": sent,
            "bytes_waiting": leg.out.waiting,
        }

    def _services(self, reading: Reading) -> Iterator[Mapping[str, object]]:
        for route in sorted(self._relay.services, key=lambda one: (one.name, one.leg.number)):
            name = route.leg.name
            back, there = reading.moved(route.traffic)
            yield {
                "service": route.name,
                "leg": name.number,
                "fingerprint": name.fingerprint,
                "comment": name.comment,
                "peer": name.peer,
                "seconds": _age(route.since),
                "streams": route.traffic.open,
                "streams_opened": route.traffic.opened,
                "bytes_there": there,
                "bytes_back": back,
            }

    def _streams(self, reading: Reading) -> Iterator[Mapping[str, object]]:
        for stream in reading.streams:
            there, back = stream.splice.bytes_from
            yield {
                "stream": stream_id(stream),
                "service": stream.route.name,
                "opener": stream.opener.number,
                "agent": stream.route.leg.number,
                "comment": stream.opener.comment,
                "peer": stream.opener.peer,
                "seconds": max(0.0, round(time.monotonic() - stream.began, 3)),
                "bytes_there": there,
                "bytes_back": back,
            }
        names = {route.traffic: route.name for route in self._relay.services}
        for visitor in reading.visitors:
            yield _visitor(visitor, names)

    # -- changing

    async def _kick(self, call: Call) -> Answer:
        ended = asdict(kick(self._relay, str(call.body["what"])))
        if not any(ended.values()):
            return Answer(404, {"error": f"nothing here is called {call.body['what']}"})
        return Answer(200, {"version": VERSION, **ended})

    async def _reload(self, call: Call) -> Answer:
        try:
            self._running.reload()
        except LocalError as error:
            raise UsageError(f"{error}; everything stays as it was") from None
        return Answer(200, {"version": VERSION, "reloaded": True})

    async def _drain(self, call: Call) -> Answer:
        body = {
            "version": VERSION,
            "pid": os.getpid(),
            "streams": self._relay.services.traffic.open,
        }
        return Answer(202, body, after=self.draining.set)


def _visitor(visitor: Visitor, names: Mapping[Any, str]) -> Mapping[str, object]:
    """A connection to the open port of a service: nobody knows whose it is."""
    name = next((names[one] for one in visitor.traffics if one in names), "")
    number = getattr(visitor.leg, "number", 0)
    return {
        "stream": stream_id(visitor), "service": name, "opener": None, "agent": number,
        "comment": "", "peer": "", "seconds": None,
        "bytes_there": visitor.sent_bytes, "bytes_back": visitor.received_bytes,
    }  # fmt: skip


def _age(since: float) -> float:
    return max(0.0, round(time.time() - since, 3))
