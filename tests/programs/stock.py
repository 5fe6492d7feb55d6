"""asyncssh's own client, as it comes: what no command line can be made to ask for, it can."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncssh
import pytest
from asyncssh import SSHClientConnection

from tests.programs.chain import Server, Site
from tests.programs.process import GUARD

USER: Final = "somebody"


@asynccontextmanager
async def login(
    site: Site, b: Server, key: str, **options: Any
) -> AsyncIterator[SSHClientConnection]:
    """A leg that has logged in with the key of this name."""
    options.setdefault("client_keys", [str(site.key(key))])
    options.setdefault("username", USER)
    async with asyncssh.connect(
        "127.0.0.1", b.port, config=None, agent_path=None,
        known_hosts=str(site.known_hosts), login_timeout=GUARD, **options,
    ) as leg:  # fmt: skip
        yield leg


async def may_login(site: Site, b: Server, key: str, **options: Any) -> bool:
    try:
        async with login(site, b, key, **options):
            return True
    except asyncssh.PermissionDenied:
        return False


async def may_publish(leg: SSHClientConnection, bind: str, port: int) -> bool:
    """Ask for a service, and give it back."""
    try:
        listener = await leg.forward_remote_port(bind, port, "localhost", 1)
    except asyncssh.ChannelListenError:
        return False
    listener.close()
    await listener.wait_closed()
    return True


async def refusal(leg: SSHClientConnection, host: str, port: int) -> tuple[int, str]:
    """The code and the text with which a stream is refused."""
    with pytest.raises(asyncssh.ChannelOpenError) as caught:
        await leg.open_connection(host, port)
    return caught.value.code, caught.value.reason


def slug(options: str) -> str:
    """A name for the key that has these options."""
    return re.sub(r"\W+", "-", options).strip("-")
