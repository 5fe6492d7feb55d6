"""`relay-connect` in this process, with a B that is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest

from relay.cli.connect import _parser
from relay.cli.connect_config import connect_config
from relay.core.backoff import Backoff
from relay.errors import LegLost
from relay.observe.log import EventLog
from relay.opener import program, session
from relay.opener.program import FarEnd, far_end
from relay.settings.connect import ConnectSettings
from tests.programs.process import GUARD
from tests.programs.traffic import free_port

RELAY = "SSH-2.0-relay"
ENDPOINT = "SSH-2.0-relay_endpoint"
OPENSSH = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3"


@pytest.mark.parametrize(
    ("version", "before", "what"),
    [
        (RELAY, "", FarEnd.RELAY),
        (RELAY, RELAY, FarEnd.RELAY),
        (RELAY, OPENSSH, FarEnd.RELAY),
        (ENDPOINT, RELAY, FarEnd.SERVICE_MACHINE),
        (ENDPOINT, OPENSSH, FarEnd.SERVICE_MACHINE),
        (ENDPOINT, "", FarEnd.SERVICE_MACHINE),
        (OPENSSH, RELAY, FarEnd.SERVICE_MACHINE),
        (OPENSSH, OPENSSH, FarEnd.UNKNOWN),
        (OPENSSH, "", FarEnd.UNKNOWN),
        ("", "", FarEnd.UNKNOWN),
    ],
)
def test_what_a_session_ends_at(version: str, before: str, what: FarEnd) -> None:
    assert far_end(version, before) is what


def test_a_new_connection_cuts_the_wait_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without it the next try would be in an hour."""
    port = free_port()
    forward = f"127.0.0.1:{port}:gpu1:8000"
    command = ["-F", "none", "-S", "none", "-L", forward, "me@b.invalid"]
    config = connect_config(_parser().read(command).settings(ConnectSettings)).config
    monkeypatch.setattr(Backoff, "next", lambda self, away: 3600.0)
    monkeypatch.setattr(Backoff, "wanted", lambda self: 0.0)

    async def main() -> None:
        tried = [anyio.Event() for _ in range(3)]
        tries = iter(tried)

        async def connect(*arguments: object, **settings: object) -> None:
            next(tries).set()
            raise LegLost("cannot connect to b.invalid")

        monkeypatch.setattr(session, "connect", connect)
        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(program.run, config, EventLog("test"))
                await tried[0].wait()
                with socket.create_connection(("127.0.0.1", port)):
                    await tried[1].wait()
                    # Who waits still hurries the next wait too.
                    await tried[2].wait()
                    tasks.cancel_scope.cancel()

    anyio.run(main)
