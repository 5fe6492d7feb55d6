"""`--http`, opened beside a program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from relay.errors import UsageError
from relay.observe.log import EventLog

if TYPE_CHECKING:
    from relay.life import running as client
    from relay.server import running as server

MISSING: Final = "--http needs more than is installed: pip install 'ssh-relay[web]'"

Address = tuple[str, int] | Path
Operate = TypeVar("Operate")
Opens = Callable[[Address, Path | None, EventLog], AbstractAsyncContextManager[Operate]]


@asynccontextmanager
async def with_web(
    load: Callable[[], Opens[Operate]],
    operators: Sequence[Operate],
    address: Address | None,
    token_file: Path | None,
    log: EventLog,
) -> AsyncIterator[Sequence[Operate]]:
    """The operators of a program, and beside them one for `--http` if there is to be one; `load`
    is what opens it. Raises `UsageError` when the extra is missing."""
    if address is None:
        yield operators
        return
    try:
        opens = load()
    except ImportError:
        raise UsageError(MISSING) from None
    async with opens(address, token_file, log) as shows:
        yield [*operators, shows]


def of_server() -> Opens[server.Operate]:
    from relay.web.of_server import server_web

    return server_web


def of_client() -> Opens[client.Operate[Any]]:
    """Of relay-agent and relay-connect."""
    from relay.web.of_client import client_web

    return client_web
