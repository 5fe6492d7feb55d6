"""Two programs with one key that want the same service."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.programs.chain import Server, Site, relay_agent, relay_connect, relay_server, ssh_agent
from tests.programs.process import Process
from tests.programs.traffic import MIB, Service, dial, exchange

TAKEN = "taken back by the server: a program with the same key that was started later has it"
TWO = ("x:1", "x:2")


def publishing_two(site: Site, b: Server, *options: str | Path) -> tuple[Process, list[Service]]:
    services = [site.service() for _ in TWO]
    forwards = [
        option
        for name, service in zip(TWO, services, strict=True)
        for option in ("-R", f"{name}:localhost:{service.port}")
    ]
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), *options, *forwards, f"{site.user}@127.0.0.1"
    )
    agent.wait_for("published", count=2)
    return agent, services


def test_a_younger_program_takes_one_service_and_gives_it_back(site: Site) -> None:
    b = relay_server(site)
    older, (first, other) = publishing_two(site, b)
    _, port = relay_connect(site, b, "x:1")
    _, other_port = relay_connect(site, b, "x:2")
    stream = dial(other_port), other.accept()
    late = site.service()
    younger, _ = relay_agent(site, b, "x:1", late.port)
    older.wait_for(f"x:1: {TAKEN}")
    exchange(dial(port), late.accept(), MIB)
    # What else it publishes stays, and what is open there.
    exchange(*stream, MIB)
    exchange(dial(other_port), other.accept(), MIB)
    # It has asked again, and was refused.
    b.process.wait_for("x:1 refused to .*a younger program with this key")
    younger.signal(signal.SIGKILL)
    b.process.wait_for("x:1 published by", count=3)
    exchange(dial(port), first.accept(), MIB)
    assert sum(TAKEN in line for line in older.lines) == 1
    assert not older.said("lost|Traceback")


def test_an_agent_that_comes_back_takes_nothing_from_a_younger_one(site: Site) -> None:
    b = relay_server(site)
    older, (_, other) = publishing_two(site, b)
    late = site.service()
    younger, _ = relay_agent(site, b, "x:1", late.port)
    older.wait_for(TAKEN)
    b.process.signal(signal.SIGKILL)
    b.process.end()
    # The older one is there alone at first, and has it.
    younger.signal(signal.SIGSTOP)
    again = site.ours(
        "relay-server", "--listen", f"127.0.0.1:{b.port}", "--state-dir", site.folder / "state"
    )
    again.wait_for("x:1 published by")
    younger.signal(signal.SIGCONT)
    again.wait_for("x:1: .* takes over from")
    again.wait_for("x:1 refused to .*a younger program with this key")
    for name, service in (("x:1", late), ("x:2", other)):
        _, port = relay_connect(site, Server(again, b.port), name)
        exchange(dial(port), service.accept(), MIB)


def test_a_stock_ssh_is_as_young_as_its_connection(site: Site) -> None:
    b = relay_server(site)
    older, _ = publishing_two(site, b)
    late = site.service()
    ssh_agent(site, b, "x:1", late.port)
    older.wait_for(f"x:1: {TAKEN}")
    _, port = relay_connect(site, b, "x:1")
    exchange(dial(port), late.accept(), MIB)
    b.process.wait_for("x:1 refused to .*a younger program with this key")


def test_a_frozen_one_loses_its_connection_and_with_it_the_rest(site: Site) -> None:
    b = relay_server(site)
    older, _ = publishing_two(site, b)
    older.signal(signal.SIGSTOP)
    relay_agent(site, b, "x:1", 1)
    b.process.wait_for("leg down: .*: taken over by a newer connection")
    b.process.wait_for("x:2 withdrawn: taken over")


def test_an_older_program_has_what_a_frozen_one_does_not_answer_for(site: Site) -> None:
    b = relay_server(site)
    older, (service, _) = publishing_two(site, b)
    younger, _ = relay_agent(site, b, "x:1", 1)
    older.wait_for(TAKEN)
    b.process.wait_for("x:1 refused to .*a younger program with this key")
    younger.signal(signal.SIGSTOP)
    b.process.wait_for("x:1 published by", count=3)
    _, port = relay_connect(site, b, "x:1")
    exchange(dial(port), service.accept(), MIB)


def test_once_ends_with_the_service(site: Site) -> None:
    b = relay_server(site)
    older, _ = publishing_two(site, b, "--once")
    relay_agent(site, b, "x:1", 1)
    assert older.end() == 1
    assert older.said(f"relay-agent: x:1: {TAKEN}")


def test_who_waits_is_told_when_authorized_keys_permits_it(site: Site) -> None:
    site.key("agent", 'permitlisten="y:1"')
    b = relay_server(site)
    service = site.service()
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), "-R", f"x:1:localhost:{service.port}",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    # By its own clock it asks ever more rarely.
    b.process.wait_for("x:1 refused to .*this key may not publish it", count=4)
    site.authorized_keys.write_text(site.public("agent").read_text())
    b.process.signal(signal.SIGHUP)
    agent.wait_for("x:1 -> .* published")
    assert not agent.said("lost")
