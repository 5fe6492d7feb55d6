"""relay-server, as it is shown: by the operations of its control socket, but for those that change
the program itself."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from prometheus_client import Histogram

from relay.control.api import Api, Call
from relay.control.of_server import ServerOperations
from relay.io.endpoint import Endpoint
from relay.observe.log import EventLog
from relay.observe.loop_delay import watch
from relay.server.running import Operate, RunningServer
from relay.ssh.server import ServerLeg
from relay.web import history_routes
from relay.web.access import Door
from relay.web.address import Address
from relay.web.app import Shown
from relay.web.history import History
from relay.web.live import Live
from relay.web.metrics import loop_delays
from relay.web.program import Web, web
from relay.web.server_metrics import server_metrics
from relay.web.store import FILE_NAME, Store

NOT_HERE: Final = frozenset({"/v1/drain", "/v1/reload"})
"""Who looks may end what somebody does, and not what the operator does."""

STATUS: Final = ("status", 80)
"""What a client opens to see the page: relay-connect -L 9222:status:80."""

DRAINING: Final = "draining"


@asynccontextmanager
async def server_web(
    address: Address, token_file: Path | None, log: EventLog
) -> AsyncIterator[Operate]:
    """Answer within; what is given shows the server once it runs. Raises `LocalError`."""
    async with web(address, token_file, log) as one:

        async def operate(running: RunningServer) -> None:
            relay = running.relay
            store = Store(relay.config.state_dir / FILE_NAME)
            history = History(store, relay, relay.events)
            relay.events.subscribe(history)
            history.started()
            delays = await loop_delays()
            show(one, running, delays, history)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, delays.observe)
                tasks.start_soon(history.run)

        yield operate


def show(one: Web, running: RunningServer, delays: Histogram, history: History) -> None:
    operations = ServerOperations(running)
    relay = running.relay

    async def status() -> Mapping[str, object]:
        return (await operations.status(Call())).body

    relay.inside.enter(*STATUS, partial(serve, one))
    live = Live(status)
    relay.events.subscribe(live)
    one.site.shown = Shown(
        not_ready=lambda: DRAINING if relay.draining else "",
        metrics=lambda: server_metrics(relay, delays),
        api=Api(
            operations.routes(NOT_HERE, history_routes.routes(history), history_routes.SCHEMAS),
            refused=lambda request: None,
        ),
        live=live,
    )


def serve(one: Web, leg: ServerLeg) -> Endpoint:
    """The other side of a channel whose client looks at the page: its key is what lets it in."""

    async def dial() -> socket.socket:
        ours, theirs = socket.socketpair()
        await one.connections.serve(theirs, Door())
        return ours

    leg.host.events.note(
        "info", "page opened", "the page is opened by {leg}", per=leg.name.fingerprint,
        leg=str(leg.name),
    )  # fmt: skip
    endpoint = Endpoint(leg, lambda endpoint, reason: None)
    endpoint.serve(dial)
    return endpoint
