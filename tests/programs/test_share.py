"""Several agents that publish one service together."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.programs.chain import NAMED, Server, Site, relay_agent, relay_connect, relay_server, ssh
from tests.programs.process import Process
from tests.programs.traffic import MIB, Service, dial, exchange, is_reset

NAMES_IT = 'permitlisten="gpu*:8000"'
SHARE = ("--share-services", "gpu*:8000")


def sharing_agent(site: Site, b: Server, key: str, *options: str) -> tuple[Process, Service]:
    service = site.service()
    site.key(key, NAMES_IT)
    process, _ = relay_agent(site, b, NAMED, service.port, "--share", *options, key=key)
    return process, service


def test_new_streams_go_to_the_one_with_the_fewest(site: Site) -> None:
    b = relay_server(site, *SHARE)
    _, first = sharing_agent(site, b, "agent-1")
    second_agent, second = sharing_agent(site, b, "agent-2")
    _, port = relay_connect(site, b, NAMED)

    def stream(service: Service) -> tuple[socket.socket, socket.socket]:
        return dial(port), service.accept()

    one, two, three = stream(first), stream(second), stream(first)
    exchange(*two, MIB)
    b.process.wait_for("splice closed")
    four, five = stream(second), stream(second)
    for pair in (one, three, four):
        exchange(*pair, MIB)
    b.process.wait_for("splice closed", count=4)
    six = stream(first)
    # A dead one drops out, and only its own streams break.
    second_agent.signal(signal.SIGKILL)
    b.process.wait_for(r"leg down: .*\(agent-2\)")
    assert is_reset(five[0])
    for _ in range(3):
        exchange(*stream(first), MIB)
    exchange(*six, MIB)


def test_the_same_key_takes_over_its_own_share(site: Site) -> None:
    b = relay_server(site, *SHARE)
    sharing_agent(site, b, "agent-1")
    old, _ = sharing_agent(site, b, "agent-2", "--once")
    old.signal(signal.SIGSTOP)
    sharing_agent(site, b, "agent-2")
    b.process.wait_for(r"gpu1:8000: .*\(agent-2\).* takes over from .*\(agent-2\)")
    assert not b.process.said(r"takes over from .*\(agent-1\)")


def refused(site: Site, b: Server, key: str, *options: str) -> None:
    process = site.ours(
        "relay-agent", *site.leg(b, key), "--once", *options, "-R", f"{NAMED}:localhost:1",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    assert process.end() != 0


def test_who_does_not_share_is_alone(site: Site) -> None:
    b = relay_server(site, *SHARE)
    sharing_agent(site, b, "agent-1")
    refused(site, b, "agent-2")
    b.process.wait_for("gpu1:8000 refused to .*: gpu1:8000 is already published by")


def test_the_operator_has_to_permit_it(site: Site) -> None:
    b = relay_server(site, "--share-services", "other*:*")
    refused(site, b, "agent-1", "--share")
    b.process.wait_for(r"gpu1:8000 refused to .*: services of this name are not shared here")


@pytest.mark.parametrize("options", ["", 'permitlisten="8000"', 'permitlisten="*:*"'])
def test_a_key_that_may_publish_anything_shares_nothing(site: Site, options: str) -> None:
    """It would get a part of the others' visitors."""
    b = relay_server(site, *SHARE)
    sharing_agent(site, b, "agent-1")
    site.key("stranger", options)
    refused(site, b, "stranger", "--share")
    b.process.wait_for("gpu1:8000 refused to .*: no permitlisten of this key names it")


def test_a_grant_is_for_the_name(site: Site) -> None:
    b = relay_server(site, *SHARE)
    site.key("agent-1", 'permitlisten="gpu1:8000"')
    site.key("agent-2", 'permitlisten="gpu2:8000"')
    sharing_agent(site, b, "agent-1")
    refused(site, b, "agent-2", "--share")
    b.process.wait_for("gpu1:8000 refused to .*: this key may not publish it")


def test_stock_ssh_shares_by_the_mark(site: Site) -> None:
    b = relay_server(site, *SHARE)
    _, ours = sharing_agent(site, b, "agent-1")
    theirs = site.service()
    site.key("agent-2", NAMES_IT)
    client = ssh(site, b, "agent-2", "-v", "-R", f"+{NAMED}:localhost:{theirs.port}")
    client.wait_for("remote forward success")
    _, port = relay_connect(site, b, NAMED)
    streams = []
    for service in (ours, theirs):
        sock = dial(port)
        streams.append((sock, service.accept()))
    for pair in streams:
        exchange(*pair, MIB)
