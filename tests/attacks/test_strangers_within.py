"""Strangers at an agent's endpoint: who comes through B, and has not logged in at C."""

from __future__ import annotations

from contextlib import suppress

from relay.core.limits import BYTES_BEFORE_LOGIN, PACKETS_BEFORE_LOGIN
from tests.attacks.messages import ignore, kexinit, packet
from tests.attacks.test_before_login import VERSION
from tests.programs.chain import Site, relay_server
from tests.programs.sessions import agent_itself
from tests.programs.stock import login

WORDS: dict[str, tuple[bytes, str]] = {
    "a version that is no text": (b"SSH-2.0-\xff\r\n", "cannot be used: UnicodeDecodeError"),
    "algorithms that are no text": (
        VERSION + packet(kexinit(kex="curve\u00e9")),
        "cannot be used: UnicodeDecodeError",
    ),
    "many packets": (
        VERSION + packet(ignore()) * 4 * PACKETS_BEFORE_LOGIN,
        f"more than {PACKETS_BEFORE_LOGIN} packets before the login",
    ),
    "many bytes": (
        VERSION + packet(ignore(bytes(30_000))) * (BYTES_BEFORE_LOGIN // 30_000 + 1),
        f"more than {BYTES_BEFORE_LOGIN >> 10} KiB before the login",
    ),
}


async def test_what_a_stranger_says_to_an_endpoint_is_one_line(site: Site) -> None:
    b = relay_server(site)
    agent, _ = agent_itself(site, b)
    for words, reason in WORDS.values():
        async with login(site, b, "client") as leg:
            reader, writer = await leg.open_connection("gpu1", 22)
            with suppress(OSError):
                writer.write(words)
                await reader.read()
        agent.wait_for(f"end to end session over: nobody .*{reason}")
    assert not agent.said("Traceback|internal error"), agent
