"""A name that B does not have: what is said of it at once, and which visitor waits for it."""

from __future__ import annotations

import pytest

from tests.programs.chain import NAMED, Site, relay_agent, relay_connect, relay_server
from tests.programs.traffic import dial, exchange


def test_a_wrong_name_is_said_to_be_and_a_visitor_fails_at_once(site: Site) -> None:
    b = relay_server(site, "--hold", "0")
    relay_agent(site, b, NAMED, 1)
    program, port = relay_connect(site, b, "gpul:8000", "--wait", "3600")
    program.wait_for(r"ready, gpul:8000 is not published yet \(did you mean gpu1:8000\?\)$")
    with dial(port) as client:
        assert client.recv(1) == b""
    program.wait_for(r"refused: gpul:8000: no such service is published \(did you mean gpu1:8000\?")
    assert not program.said("waiting for it")


def test_an_agent_that_comes_later_is_found(site: Site) -> None:
    b = relay_server(site, "--hold", "0")
    program, port = relay_connect(site, b, NAMED, "--wait", "3600")
    program.wait_for("ready, gpu1:8000 is not published yet$")
    with dial(port) as client:
        assert client.recv(1) == b""
    service = site.service()
    agent, _ = relay_agent(site, b, NAMED, service.port)
    exchange(dial(port), service.accept(), 1 << 16)
    # From now on it is known to be there, and missed when it is not.
    agent.stop()
    b.process.wait_for("gpu1:8000 withdrawn")
    with dial(port) as client:
        program.wait_for("gpu1:8000: no such service is published; waiting for it")
        relay_agent(site, b, NAMED, service.port)
        exchange(client, service.accept(), 1 << 16)


def test_where_b_is_new_its_agents_may_not_be_back(site: Site) -> None:
    b = relay_server(site, "--hold", "3600")
    program, port = relay_connect(site, b, NAMED)
    with dial(port) as client:
        program.wait_for("gpu1:8000: no such service is published; waiting for it")
        service = site.service()
        relay_agent(site, b, NAMED, service.port)
        exchange(client, service.accept(), 1 << 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('permitopen="gpu9:1"', ", but this key may not open it$"),
        ('permitopen="gpu1:8000"', "$"),
    ],
)
def test_what_else_is_in_its_way_is_said_too(site: Site, options: str, said: str) -> None:
    site.key("client", options)
    b = relay_server(site)
    relay_agent(site, b, NAMED, 1)
    program, _ = relay_connect(site, b, NAMED)
    program.wait_for(f"gpu1:8000 ready{said}")
