"""What can be asked of relay-agent and relay-connect: how they are, and other forwards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import anyio

import relay
from relay.control import openapi
from relay.control.api import Answer, Call, Route, problem
from relay.control.kinds import describe, names, parse
from relay.control.limits import SERVER_WAIT
from relay.core.forward import Forward
from relay.core.forwards import Desired, Far
from relay.errors import LegLost, Refused
from relay.life.running import Running

STATUS_VERSION: Final = 1
"""Of what `status` answers. Fields are added without another one; none is dropped or changed."""

STREAMS_LOOKED_AT: Final = 0.1
"""Seconds between two looks whether the last stream is over, while a program stops."""


class Operations:
    """The routes of one running program."""

    def __init__(self, program: str, running: Running[Any], kinds: tuple[str, ...]) -> None:
        """`kinds` are the forwards that it has, with a target and without."""
        self._program = program
        self._running = running
        self._kinds = kinds
        self._began = anyio.current_time()
        # Somebody has asked for the end, and whether it waits for the streams.
        self.ending = anyio.Event()
        self._waits = False

    def routes(self) -> list[Route]:
        kinds = self._kinds
        forward = ("kind", "forward")
        routes = [
            Route("GET", "/v1/status", self._status, openapi.STATUS),
            Route("GET", "/v1/forwards", self._list, openapi.LIST),
            Route("POST", "/v1/forwards", self._forward, openapi.forward(kinds), body=forward),
            Route("DELETE", "/v1/forwards", self._cancel, openapi.cancel(kinds), query=forward),
            Route("POST", "/v1/stop", self._stop, openapi.STOP),
            Route("POST", "/v1/exit", self._exit, openapi.EXIT),
        ]
        document = openapi.document(self._program, routes)

        async def describe_all(call: Call) -> Answer:
            return Answer(200, document)

        return [*routes, Route("GET", "/openapi.json", describe_all, openapi.OPENAPI)]

    async def end(self) -> None:
        """What has been asked for: no more connections, and the end when the streams are over; or
        the end at once."""
        if self._waits:
            desired = self._running.desired
            dropped = [one for one in desired.forwards if desired.drop(one.key)]
            with anyio.move_on_after(SERVER_WAIT):
                for one in dropped:
                    await desired.settled(one)
            while self._running.streams():  # noqa: ASYNC110  # A leg tells nobody of its last one.
                await anyio.sleep(STREAMS_LOOKED_AT)
        self._running.exit()

    # -- the operations

    async def _status(self, call: Call) -> Answer:
        up, seconds, reason = self._running.supervisor.state(anyio.current_time())
        return Answer(200, {
            "version": STATUS_VERSION,
            "program": self._program,
            "release": relay.__version__,
            "pid": os.getpid(),
            "uptime": round(anyio.current_time() - self._began, 3),
            "destination": self._running.supervisor.where,
            "connection": {
                "up": up, "seconds": round(seconds, 3), "reason": reason,
                **self._running.connection(),
            },
            "streams": self._running.streams(),
            "forwards": self._forwards(),
        })  # fmt: skip

    async def _list(self, call: Call) -> Answer:
        return Answer(200, {"forwards": self._forwards()})

    async def _forward(self, call: Call) -> Answer:
        forward = self._parsed(call.body)
        desired = self._running.desired
        known = desired.forwards.get(forward)
        is_new = known is None or not known.wanted
        wanted = desired.want(forward)
        granted = False
        try:
            with anyio.move_on_after(SERVER_WAIT):
                await desired.settled(wanted)
            granted = wanted.far is Far.GRANTED
        finally:
            # A command that has failed, or that nobody waits for any more, has changed nothing.
            if is_new and not granted:
                desired.drop(forward)
        if granted:
            return Answer(201 if is_new else 200, self._describe(wanted))
        raise Refused(wanted.reason) if wanted.reason else self._no_answer()

    async def _cancel(self, call: Call) -> Answer:
        forward = self._parsed(call.query)
        desired = self._running.desired
        found = [one for one in desired.forwards if one.wanted and names(forward, one)]
        if not found:
            return problem(404, f"{forward} is not forwarded")
        for one in found:
            desired.drop(one.key)
        with anyio.move_on_after(SERVER_WAIT):
            for one in found:
                await desired.settled(one)
            return Answer(200, {"forwards": [self._describe(one) for one in found]})
        raise self._no_answer()

    async def _stop(self, call: Call) -> Answer:
        return self._ends(waits=True)

    async def _exit(self, call: Call) -> Answer:
        return self._ends(waits=False)

    def _ends(self, *, waits: bool) -> Answer:
        self._waits = waits
        body = {"pid": os.getpid(), "streams": self._running.streams()}
        return Answer(202, body, after=self.ending.set)

    # -- how

    def _parsed(self, given: Mapping[str, object]) -> Forward:
        return parse(str(given["kind"]), str(given["forward"]), self._kinds)

    def _describe(self, desired: Desired[Any]) -> Mapping[str, object]:
        trouble = self._running.trouble(desired.key)
        return describe(desired, self._kinds, anyio.current_time(), trouble)

    def _forwards(self) -> list[Mapping[str, object]]:
        return [self._describe(one) for one in self._running.desired.forwards]

    def _no_answer(self) -> LegLost:
        supervisor = self._running.supervisor
        up, _, reason = supervisor.state(anyio.current_time())
        if up:
            return LegLost(f"{supervisor.where} does not answer")
        return LegLost(f"there is no connection to {supervisor.where}{reason and ': '}{reason}")
