"""`--http` of one program, from its sockets to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from relay.io.local import name_of
from relay.observe.log import EventLog
from relay.web.access import Door
from relay.web.address import Address, Listening, open_address, read_token
from relay.web.app import Site, application
from relay.web.connections import Connections


class Web:
    """What is served, and by which connections."""

    def __init__(self, site: Site, listening: Listening, connections: Connections) -> None:
        self.site = site
        self.listening = listening
        self.connections = connections


@asynccontextmanager
async def web(address: Address, token_file: Path | None, log: EventLog) -> AsyncIterator[Web]:
    """Listen and answer within. Raises `AddressError`, `FileError`, `UsageError`."""
    token = read_token(token_file) if token_file is not None else None
    listening = await open_address(address, has_token=token is not None)
    site = Site()
    guessed = partial(log.warning, "web refused", "--http: a wrong token", per="web")
    connections = Connections(application(site, guessed))
    try:
        for sock in listening.sockets:
            await connections.listen(sock, Door(token))
            log.info("web", "http at {address}", address=name_of(sock))
        yield Web(site, listening, connections)
    finally:
        await connections.aclose()
        listening.close()
