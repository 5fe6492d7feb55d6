"""`--http`, opened beside a program."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from relay.errors import UsageError
from relay.observe.log import EventLog
from relay.server.running import Operate
from relay.settings.server import ServerSettings

MISSING: Final = "--http needs more than is installed: pip install 'ssh-relay[web]'"


def server_operator(
    settings: ServerSettings, log: EventLog
) -> AbstractAsyncContextManager[Operate]:
    """Raises `UsageError` when the extra is missing."""
    assert settings.http is not None
    try:
        from relay.web.of_server import server_web
    except ImportError:
        raise UsageError(MISSING) from None
    return server_web(settings.http, settings.http_token_file, log)
