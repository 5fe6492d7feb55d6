"""What can be asked of relay-server: who is there, what is published and open, and its end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

import anyio

import relay
from relay.control import listings
from relay.control import openapi_server as described
from relay.control.api import Answer, Call, Route
from relay.control.openapi import document
from relay.control.pages import PARAMETERS, page, wanted
from relay.control.place import SERVER_SOCKET
from relay.control.server import control
from relay.core.traffic import Traffic
from relay.errors import LocalError, UsageError
from relay.io.turns import in_turn
from relay.observe import loop_delay
from relay.observe.log import EventLog
from relay.server.kick import kick
from relay.server.routes import AgentRoute
from relay.server.running import RunningServer
from relay.server.services import Absent

PROGRAM: Final = "relay-server"
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

    def routes(
        self,
        without: Container[str] = (),
        more: Sequence[Route] = (),
        schemas: Mapping[str, object] = MappingProxyType({}),
    ) -> list[Route]:
        """`without` the paths that the door in question does not have, and with `more` that it
        alone has, which these schemas describe."""
        routes = [
            Route("GET", "/v1/status", self.status, described.STATUS),
            Route("GET", "/v1/legs", self._legs, described.LEGS, may=PARAMETERS),
            Route("GET", "/v1/services", self._services, described.SERVICES, may=PARAMETERS),
            Route("GET", "/v1/streams", self._streams, described.STREAMS, may=PARAMETERS),
            Route("POST", "/v1/kick", self._kick, described.KICK, body=("what",)),
            Route("POST", "/v1/reload", self._reload, described.RELOAD),
            Route("POST", "/v1/drain", self._drain, described.DRAIN),
        ]  # fmt: skip
        routes = [*(one for one in routes if one.path not in without), *more]
        whole = document(PROGRAM, routes, {**described.SCHEMAS, **schemas})

        async def describe_all(call: Call) -> Answer:
            return Answer(200, whole)

        return [*routes, Route("GET", "/openapi.json", describe_all, described.OPENAPI)]

    # -- looking

    async def _legs(self, call: Call) -> Answer:
        listing = listings.legs(self._relay.services)
        asked = wanted(call.query, listing)
        await self._relay.reading()
        legs = (leg for leg in self._relay.legs if leg.logged_in)
        return Answer(200, {"version": VERSION, **await page("legs", legs, listing, asked)})

    async def _services(self, call: Call) -> Answer:
        waiting: Counter[Traffic] = Counter()
        listing = listings.services(waiting)
        asked = wanted(call.query, listing)
        waiting.update((await self._relay.reading()).waiting)
        rows: Iterable[AgentRoute | Absent] = chain(
            self._relay.services, self._relay.services.absent()
        )
        services = await page("services", rows, listing, asked)
        return Answer(200, {"version": VERSION, **services})

    async def _streams(self, call: Call) -> Answer:
        # Of connections to open ports, which know no more of it.
        names: dict[Traffic, str] = {}
        listing = listings.streams(names)
        asked = wanted(call.query, listing)
        reading = await self._relay.reading()
        if reading.visitors:
            async for some in in_turn(self._relay.services):
                names |= {route.traffic: route.name for route in some}
        streams = await page("streams", reading.all, listing, asked)
        return Answer(200, {"version": VERSION, **streams})

    async def status(self, call: Call) -> Answer:
        server, counters = self._relay, self._relay.counters
        traffic = server.services.traffic
        await server.reading()
        absent = Counter(one.state for one in server.services.absent())
        late = await loop_delay.longest()
        return Answer(200, {
            "version": VERSION,
            "program": PROGRAM,
            "release": relay.__version__,
            "pid": os.getpid(),
            "uptime": round(anyio.current_time() - self._began, 3),
            "legs": server.legs.logged_in,
            "connections": len(server.legs),
            "services": len(server.services),
            "services_down": absent["down"],
            "services_held": absent["held"],
            "streams": traffic.open,
            "streams_opened": traffic.opened,
            "bytes_there": traffic.sent,
            "bytes_back": traffic.received,
            "bytes_waiting": server.waiting,
            "stalls": traffic.stalls,
            "rekeys": await server.legs.rekeys(),
            "loop_delay": round(late, 6),
            "logins": counters.logins,
            "logins_failed": counters.logins_failed,
            "refusals": [
                {"what": what, "why": why, "count": count}
                for (what, why), count in sorted(counters.refusals.items())
            ],
            "limits_hit": dict(sorted(counters.limits.items())),
        })  # fmt: skip

    # -- changing

    async def _kick(self, call: Call) -> Answer:
        ended = asdict(await kick(self._relay, str(call.body["what"])))
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
