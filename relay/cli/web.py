"""`--http`, opened beside a program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from relay.errors import UsageError
from relay.life import running as client
from relay.observe.log import EventLog
from relay.server import running as server
from relay.settings.server import ServerSettings

MISSING: Final = "--http needs more than is installed: pip install 'ssh-relay[web]'"


def server_operator(
    settings: ServerSettings, log: EventLog
) -> AbstractAsyncContextManager[server.Operate]:
    """Raises `UsageError` when the extra is missing."""
    assert settings.http is not None
    try:
        from relay.web.of_server import server_web
    except ImportError:
        raise UsageError(MISSING) from None
    return server_web(settings.http, settings.http_token_file, log)


@asynccontextmanager
async def with_web(
    operate: client.Operate[Any] | None,
    address: tuple[str, int] | Path | None,
    token_file: Path | None,
    log: EventLog,
) -> AsyncIterator[client.Operate[Any] | None]:
    """The operator of relay-agent or relay-connect, and beside it one for `--http` if there is to
    be one. Raises `UsageError` when the extra is missing."""
    if address is None:
        yield operate
        return
    try:
        from relay.web.of_client import client_web
    except ImportError:
        raise UsageError(MISSING) from None
    async with client_web(address, token_file, log) as shows:

        async def both(running: client.Running[Any]) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(shows, running)
                if operate is not None:
                    tasks.start_soon(operate, running)

        yield both
