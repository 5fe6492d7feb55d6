"""`--check`: what does not answer is withdrawn, its visitors are told why, and it comes back."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from relay.control.client import ask
from tests.programs.chain import NAMED, OPENERS, Site, relay_agent, relay_connect, relay_server
from tests.programs.stock import login, refusal
from tests.programs.test_control import operate
from tests.programs.traffic import MIB, Service, dial, exchange, free_port

QUICK = ("--check-interval", "0.2")
SHARE = ("--share-services", "gpu*:8000")


@pytest.fixture
def site() -> Iterator[Site]:
    """With a short path, as sockets want it."""
    with TemporaryDirectory(prefix="relay-") as folder, ExitStack() as stack:
        yield Site(Path(folder), stack)


class Answering:
    """A service that takes connections, and drops those that say nothing."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = port
        self.name = str(port).encode()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                if sock.recv(1):
                    sock.sendall(self.name)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()


def answering(site: Site, port: int = 0) -> Answering:
    service = Answering(port or free_port())
    site.stack.callback(lambda: service.listener.fileno() == -1 or service.close())
    return service


def asked(port: int) -> bytes:
    """What a service says of itself; empty: the stream has ended without it."""
    with dial(port) as client:
        try:
            client.sendall(b"?")
            return client.recv(100)
        except ConnectionResetError:
            return b""


def test_a_sibling_takes_all_while_a_service_is_down(site: Site) -> None:
    b = relay_server(site, *SHARE)
    agents, services = [], [answering(site), answering(site)]
    for number, service in enumerate(services):
        key = f"agent-{number}"
        site.key(key, 'permitlisten="gpu*:8000"')
        options = ("--share", "--check", "tcp", *QUICK)
        agents.append(relay_agent(site, b, NAMED, service.port, *options, key=key)[0])
    _, port = relay_connect(site, b, NAMED)
    first, second = services
    first.close()
    agents[0].wait_for(
        rf"\+gpu1:8000: localhost:{first.port} does not answer \(connection refused\); not publ"
    )
    b.process.wait_for(
        r"gpu1:8000 withdrawn: by its agent "
        r"\(the service behind it does not answer: connection refused\)"
    )
    assert {asked(port) for _ in range(8)} == {second.name}
    answering(site, first.port)
    agents[0].wait_for(rf"\+gpu1:8000: localhost:{first.port} answers, after")
    agents[0].wait_for(r"gpu1:8000 -> .* published", count=2)
    second.close()
    agents[1].wait_for(r"does not answer")
    b.process.wait_for(r"withdrawn: by its agent", count=2)
    assert asked(port) == first.name


@pytest.mark.parametrize("opener", ["relay-connect", "ssh"])
def test_what_a_service_refuses_a_sibling_takes_without_any_check(site: Site, opener: str) -> None:
    b = relay_server(site, *SHARE)
    services = [answering(site), answering(site)]
    for number, service in enumerate(services):
        key = f"agent-{number}"
        site.key(key, 'permitlisten="gpu*:8000"')
        relay_agent(site, b, NAMED, service.port, "--share", key=key)
    _, port = OPENERS[opener](site, b, NAMED)
    services[0].close()  # Its agent is the one that would be asked first, each time.
    assert [asked(port) for _ in range(8)] == [services[1].name] * 8
    b.process.wait_for(r"splice closed .*[Cc]onnection refused; another agent is asked")
    services[1].close()
    assert asked(port) == b""


def test_who_opens_what_is_down_is_told_so_at_once(site: Site) -> None:
    b = relay_server(site, "--hold", "3600")
    service = answering(site)
    agent, _ = relay_agent(site, b, NAMED, service.port, "--check", f"{NAMED}=tcp", *QUICK)
    connect, port = relay_connect(site, b, NAMED, "--wait", "3600")
    assert asked(port) == service.name
    service.close()
    b.process.wait_for("gpu1:8000 withdrawn")
    assert asked(port) == b""
    why = r"the service behind it does not answer \(connection refused, since [\d.]+ s\)"
    connect.wait_for(rf"gpu1:8000: stream closed, .*: gpu1:8000: {why}")
    b.process.wait_for(rf"gpu1:8000 refused to .*: {why}")
    said = operate(site, b, "agent", "-O", "status")
    assert "gpu1:8000  -> localhost:" in said.out
    assert "down: it does not answer (connection refused, since " in said.out

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            code, text = await refusal(leg, "gpu1", 8000)
            assert code == 2
            assert "does not answer (connection refused, since" in text

    asyncio.run(visit())
    # And by -O: at B what is the matter with it, at A what its clients have been told.
    path = site.folder / "state" / "control.sock"
    (row,) = ask(path, "GET", "/v1/services").body["services"]
    assert (row["state"], row["reason"]) == ("down", "connection refused")
    assert row["comment"] == "agent"
    status = ask(path, "GET", "/v1/status").body
    assert (status["services"], status["services_down"], status["services_held"]) == (0, 1, 0)
    said = operate(site, b, "connect", "-O", "status")
    assert re.search(rf"granted; refused for [\d.]+ s: gpu1:8000: {why}", said.out)
    answering(site, service.port)
    agent.wait_for("gpu1:8000 -> .* published", count=2)
    assert asked(port) == service.name
    assert "refused for" not in operate(site, b, "connect", "-O", "status").out
    (row,) = ask(path, "GET", "/v1/services").body["services"]
    assert (row["state"], row["reason"]) == ("up", "")
    assert "granted" in operate(site, b, "agent", "-O", "status").out


def test_a_leg_that_is_gone_is_told_as_that(site: Site) -> None:
    """Whether its service is there nobody knows; who opens it waits."""
    b = relay_server(site, "--hold", "3600")
    service = answering(site)
    agent, _ = relay_agent(site, b, NAMED, service.port)
    path = site.folder / "state" / "control.sock"
    assert [row["state"] for row in ask(path, "GET", "/v1/services").body["services"]] == ["up"]
    agent.stop()
    b.process.wait_for("gpu1:8000 withdrawn: its leg is down")
    (row,) = ask(path, "GET", "/v1/services").body["services"]
    assert (row["state"], row["reason"]) == ("held", "its agent is gone")
    assert (row["comment"], row["streams"]) == ("agent", 0)
    assert ask(path, "GET", "/v1/status").body["services_held"] == 1


def test_what_is_down_at_the_start_comes_later(site: Site) -> None:
    b = relay_server(site)
    late = free_port()
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), "--check", "tcp", *QUICK,
        "-R", f"{NAMED}:localhost:{late}", f"{site.user}@127.0.0.1",
    )  # fmt: skip
    agent.wait_for(r"does not answer \(connection refused\)")
    b.process.wait_for("leg up: ")
    assert not b.process.said("published")
    service = answering(site, late)
    b.process.wait_for("gpu1:8000 published")
    _, port = relay_connect(site, b, NAMED)
    assert asked(port) == service.name


@pytest.mark.parametrize("options", [(), ("--once",)])
def test_who_comes_too_late_is_told(site: Site, options: tuple[str, ...]) -> None:
    """Somebody else has the name by now."""
    b = relay_server(site)
    late = free_port()
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), "--check", "tcp", *QUICK, *options,
        "-R", f"{NAMED}:localhost:{late}", f"{site.user}@127.0.0.1",
    )  # fmt: skip
    b.process.wait_for("leg up: ")
    relay_agent(site, b, NAMED, 1, key="other")
    answering(site, late)
    agent.wait_for("gpu1:8000: refused by the server: a program with another key has it")
    if options:
        assert agent.end() == 1


def test_a_key_that_may_not_publish_it_any_more_has_no_say(site: Site) -> None:
    b = relay_server(site)
    service = answering(site)
    relay_agent(site, b, NAMED, service.port, "--check", "tcp", *QUICK)
    service.close()
    b.process.wait_for("gpu1:8000 withdrawn")
    _, port = relay_connect(site, b, NAMED, "--wait", "0")
    assert asked(port) == b""
    b.process.wait_for("gpu1:8000 refused to .*: the service behind it does not answer")
    site.authorized_keys.write_text(
        site.public("client").read_text()
        + f'permitlisten="other:1" {site.public("agent").read_text()}'
    )
    b.process.wait_for(r"\(agent\) at .* has other rights now")
    assert asked(port) == b""
    b.process.wait_for("gpu1:8000 refused to .*: no such service is published")


class Page(BaseHTTPRequestHandler):
    """Is as well as its server says."""

    def do_GET(self) -> None:
        status: int = self.server.status if self.path == "/health" else 404  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_http_and_open_streams_go_on(site: Site) -> None:
    b = relay_server(site)
    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    page.status = 200  # type: ignore[attr-defined]
    threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.05}).start()
    site.stack.callback(page.server_close)
    site.stack.callback(page.shutdown)
    agent, _ = relay_agent(site, b, NAMED, page.server_port, "--check", "http:/health", *QUICK)
    page.status = 503  # type: ignore[attr-defined]
    agent.wait_for(r"does not answer \(HTTP 503\)")
    agent.wait_for("withdrawn")
    page.status = 302  # type: ignore[attr-defined]
    agent.wait_for("gpu1:8000 -> .* published", count=2)


def test_streams_that_are_open_go_on(site: Site) -> None:
    b = relay_server(site)
    service: Service = site.service()
    agent, _ = relay_agent(site, b, NAMED, service.port)
    _, port = relay_connect(site, b, NAMED)
    agent.stop()
    checked, _ = relay_agent(site, b, NAMED, service.port, "--check", "tcp", *QUICK)
    b.process.wait_for("gpu1:8000 published", count=2)
    client = dial(port)
    client.sendall(b"!")
    while True:  # The checks come in between.
        stream = service.accept()
        if stream.recv(1):
            break
    service.close()
    checked.wait_for("withdrawn")
    exchange(client, stream, MIB)
    client.close()
    stream.close()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--check", "udp"], "'udp' is no check: give tcp or http:/path"),
        (["--check", "gpu2:8000=tcp"], "no -R publishes gpu2:8000, but gpu1:8000"),
        (["--check", "tcp", "--check", "http:/"], "there is another one for the same"),
        (["--check", "tcp", "--check-interval", "0"], "--check-interval"),
    ],
)
def test_what_is_wrong(site: Site, options: list[str], problem: str) -> None:
    agent = site.ours("relay-agent", *options, "-F", "none", "-R", f"{NAMED}:localhost:1", "b")
    assert agent.end() == 2
    assert agent.said(problem.replace("(", r"\("))
