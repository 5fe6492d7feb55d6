"""`--log-format json`: one object for each event, with all that an operator wants to know."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import asyncssh
import pytest

from relay.observe.damper import LINES, LINES_OF
from tests.programs.chain import Chain, Site, relay_server, start_chain
from tests.programs.process import Process
from tests.programs.stock import login, may_publish, refusal
from tests.programs.traffic import MIB, exchange, receive, send, together

JSON = ("--log-format", "json")


@pytest.fixture
def json_chain(site: Site) -> Chain:
    return start_chain(site, b_options=JSON)


def event(program: Process, name: str, having: str = "") -> dict[str, Any]:
    """The first event of this name whose line matches."""
    line = program.wait_for(rf'^.*"event": "{name}".*{having}.*$')[0]
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_stream_from_beginning_to_end(site: Site, json_chain: Chain) -> None:
    b = json_chain.b.process
    client, service = json_chain.stream()
    with client, service:
        together([lambda: send(client, 3 * MIB), lambda: receive(service)])
        together([lambda: send(service, 5 * MIB), lambda: receive(client)])
    opened, closed = event(b, "splice opened"), event(b, "splice closed")
    assert opened["service"] == closed["service"] == "gpu1:8000"
    assert fingerprint(site, "client") in opened["leg"]
    assert "(client)" in closed["leg"]
    assert (closed["there"], closed["back"]) == (3 * MIB, 5 * MIB)
    assert 0 < closed["seconds"] < 60


def test_legs_and_services_come_and_go(site: Site, json_chain: Chain) -> None:
    b = json_chain.b.process
    for name, program in (("client", json_chain.a), ("agent", json_chain.c)):
        up = event(b, "leg up", rf"\({name}\)")
        assert up["who"] == f"{fingerprint(site, name)} ({name})"
        assert up["peer"].startswith("127.0.0.1:")
        assert up["cipher"] == "aes128-gcm@openssh.com"
        assert program.stop() == 0
        down = event(b, "leg down", rf"\({name}\)")
        assert (down["who"], down["peer"]) == (up["who"], up["peer"])
    published = event(b, "service published")
    assert published["service"] == "gpu1:8000"
    assert fingerprint(site, "agent") in published["leg"]
    assert event(b, "service withdrawn")["service"] == "gpu1:8000"


def test_every_line_is_an_event(site: Site) -> None:
    chain = start_chain(site, a_options=(*JSON, "-v"), b_options=(*JSON, "-v"), c_options=JSON)
    client, service = chain.stream()
    client.close()
    service.close()
    event(chain.a, "stream closed")
    event(chain.b.process, "splice closed")
    programs = [chain.a, chain.c, chain.b.process]
    for program in programs:
        assert program.stop() == 0
        assert program.lines
        for line in program.lines:
            fields = json.loads(line)
            assert fields["program"] == program.name
            assert fields["level"] in ("debug", "info", "warning", "error")
            assert fields["event"]
            assert fields["message"]
            time = datetime.fromisoformat(fields["time"])
            assert abs((datetime.now(UTC) - time).total_seconds()) < 300


def test_a_person_reads_sentences(chain: Chain) -> None:
    client, service = chain.stream()
    client.close()
    service.close()
    chain.a.stop()
    said = chain.b.process.wait_for
    time = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
    said(rf"{time}leg up: SHA256:\S{{43}} \(client\) as \S+ from 127\.0\.0\.1:\d+")
    said(rf"{time}gpu1:8000 published by SHA256:\S{{43}} \(agent\)")
    said(rf"{time}gpu1:8000 splice closed for .*: 0 bytes there, 0 back, \d+\.\d{{3}} s")
    said(rf"{time}leg down: SHA256:\S{{43}} \(client\)")


def test_a_comment_cannot_forge_an_event(site: Site) -> None:
    site.key("client", None)
    site.key("agent", None)
    for name in ("client", "agent"):
        keytype, blob, _ = site.public(name).read_text().split()
        site.authorize(f"{keytype} {blob} \x1b[2J\x85forged\u202e\n")
    chain = start_chain(site)
    line = chain.b.process.wait_for("^.*leg up.*$")[0]
    assert re.search(r"\(\\x1b\[2J\\x85forged\\u202e\)", line)


def fingerprint(site: Site, name: str) -> str:
    return asyncssh.read_public_key(site.public(name)).get_fingerprint()


@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_a_log_that_nobody_reads_stops_nobody(site: Site, which: str) -> None:
    """-v, so that each says something of each stream."""
    chain = start_chain(site, a_options=("-v",), b_options=("-v",), c_options=("-v",))
    program = {"a": chain.a, "b": chain.b.process, "c": chain.c}[which]
    with program.unread():
        for _ in range(200):
            exchange(*chain.stream(), 1000)
    program.wait_for("closed", count=150)
    assert program.stop() == 0


# -- peers that have logged in


def all_told(program: Process, line: str, event: str) -> int:
    """How many of these there were: told of, each by a line, and counted."""
    counted = [re.search(rf"(\d+) more of: {event}", said) for said in program.lines]
    lines = sum(bool(re.search(line, said)) for said in program.lines)
    assert lines <= LINES_OF.get(event, LINES)
    return lines + sum(int(match[1]) for match in counted if match)


def test_publishing_without_end_is_no_flood_of_lines(site: Site) -> None:
    b = relay_server(site)

    async def publish() -> None:
        async with login(site, b, "agent") as leg:
            for _ in range(LINES + 40):
                assert await may_publish(leg, "gpu1", 8000)

    asyncio.run(publish())
    b.process.stop()
    for event, line in (
        ("service published", "gpu1:8000 published"),
        ("service withdrawn", "gpu1:8000 withdrawn"),
    ):
        assert all_told(b.process, line, event) == LINES + 40


def test_opening_without_end_is_no_flood_of_lines(site: Site, chain: Chain) -> None:
    lines = LINES_OF["splice opened"]

    async def use_streams() -> None:
        async with login(site, chain.b, "client") as leg:
            for _ in range(lines + 10):
                _, writer = await leg.open_connection("gpu1", 8000)
                chain.service.accept().close()
                writer.close()
                await writer.wait_closed()

    asyncio.run(use_streams())
    chain.b.process.stop()
    for event, line in (("splice opened", "opened for"), ("splice closed", "closed for")):
        assert all_told(chain.b.process, line, event) == lines + 10


def test_coming_and_going_is_no_flood_of_lines(site: Site) -> None:
    b = relay_server(site)

    async def come_and_go() -> None:
        for _ in range(LINES + 5):
            async with login(site, b, "client"):
                pass

    asyncio.run(come_and_go())
    b.process.stop()
    assert all_told(b.process, "leg up: ", "leg up") == LINES + 5
    assert all_told(b.process, "leg down: ", "leg down") == LINES + 5


def test_a_service_that_is_down_is_no_flood_of_lines_at_its_agent(site: Site) -> None:
    chain = start_chain(site)
    chain.service.close()
    lines = LINES_OF["stream closed"]

    async def open_streams() -> None:
        async with login(site, chain.b, "client") as leg:
            for _ in range(lines + 10):
                await refusal(leg, "gpu1", 8000)

    asyncio.run(open_streams())
    chain.c.stop()
    assert all_told(chain.c, "closed, 0 bytes in", "stream closed") == lines + 10
