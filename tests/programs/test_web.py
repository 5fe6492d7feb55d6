"""`--http`: the real programs, seen by way of HTTP."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.programs.chain import (
    OPENERS,
    PUBLISHERS,
    Site,
    find,
    relay_connect,
    relay_server,
    ssh,
    start_chain,
)
from tests.programs.process import GUARD, Process
from tests.programs.traffic import MIB, dial, is_reset, receive

AT_LOOPBACK = ("--http", "127.0.0.1:0")


def where(process: Process) -> str:
    return "http://" + process.wait_for(r"http at (127\.0\.0\.1:\d+)")[1]


def get(url: str, **more: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=GUARD, **more)


def test_a_chain_is_seen_and_a_stream_ended(site: Site) -> None:
    chain = start_chain(site, b_options=AT_LOOPBACK)
    client, _ = chain.stream()
    url = where(chain.b.process)
    assert get(f"{url}/healthz").text == "ok\n"
    assert get(f"{url}/readyz").status_code == 200
    (stream,) = get(f"{url}/v1/streams").json()["streams"]
    assert (stream["service"], stream["comment"]) == ("gpu1:8000", "client")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{url}/v1/kick", json={"what": stream["stream"]}, timeout=GUARD)
    assert answer.json()["streams"] == [stream["stream"]]
    assert is_reset(client)
    described = get(f"{url}/openapi.json").json()["paths"]
    for path in ("/v1/drain", "/v1/reload"):
        assert path not in described
        assert get(f"{url}{path}").status_code == 404


def test_what_happens_is_told_at_once(site: Site) -> None:
    chain = start_chain(site, b_options=AT_LOOPBACK)
    url = where(chain.b.process)
    with get(f"{url}/v1/live", stream=True) as told:
        lines = told.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("event:")) == "event: totals"
        client, service = chain.stream()
        assert any('"name": "SpliceOpened"' in line for line in lines)
        client.close()
        service.close()
        assert any('"name": "SpliceClosed"' in line for line in lines)


def metrics(url: str) -> dict[tuple[str, ...], float]:
    """By their names, each with the values of its labels."""
    text = get(f"{url}/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_of_a_chain(site: Site) -> None:
    chain = start_chain(site, b_options=AT_LOOPBACK)
    url = where(chain.b.process)
    client, service = chain.stream()
    client.sendall(b"x" * MIB)
    client.shutdown(socket.SHUT_WR)
    assert receive(service)[0] == MIB
    told = metrics(url)
    assert told["relay_legs",] == 2
    assert told["relay_service_streams", "gpu1:8000"] == 1
    assert told["relay_service_transferred_bytes_total", "there", "gpu1:8000"] == MIB
    assert told["relay_transferred_bytes_total", "there"] == MIB
    assert told["relay_service_streams", "other"] == 0
    assert told["process_open_fds",] > 3
    client.close()
    service.close()
    # Of an agent that comes back the service goes on, and is counted on.
    chain.c.stop()
    PUBLISHERS["relay-agent"](site, chain.b, "gpu1:8000", chain.service.port)
    later = metrics(url)
    assert later["relay_service_transferred_bytes_total", "there", "gpu1:8000"] == MIB
    assert later["relay_published_services_total",] == 2
    text = get(f"{url}/metrics").text
    done = subprocess.run(
        [find("promtool"), "check", "metrics"], input=text, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_while_it_drains_it_is_not_ready(site: Site) -> None:
    chain = start_chain(site, b_options=(*AT_LOOPBACK, "--drain", "60"))
    client, service = chain.stream()
    url = where(chain.b.process)
    chain.b.process.signal(signal.SIGTERM)
    chain.b.process.wait_for("stopping: ")
    answer = get(f"{url}/readyz")
    assert (answer.status_code, answer.text) == (503, "draining\n")
    assert get(f"{url}/healthz").status_code == 200
    client.close()
    service.close()
    assert chain.b.process.end() == 0


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:0", "--http-token-file"),
        ("192.0.2.1:0", "cannot listen on 192.0.2.1:0"),
        ("127.0.0.1", "such as 127.0.0.1:9222"),
        ("/nowhere/http.sock", "/nowhere: No such file or directory"),
    ],
)
def test_an_address_that_will_not_do(site: Site, address: str, said: str) -> None:
    done = fails(site, "--http", address)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(site: Site) -> None:
    taken = where(relay_server(site, *AT_LOOPBACK).process).removeprefix("http://")
    done = fails(site, "--http", taken)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"cannot listen on {taken}: Address already in use" in done.stderr


def fails(site: Site, *options: str, before: str = "") -> subprocess.CompletedProcess[str]:
    script = f"import sys; {before}\nfrom relay.cli.server import main; sys.exit(main())"
    arguments = ["--listen", "127.0.0.1:0", "--state-dir", str(site.folder / "state"), *options]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    return done


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "prometheus_client"])
def test_without_the_extra(site: Site, missing: str) -> None:
    done = fails(site, *AT_LOOPBACK, before=f"sys.modules[{missing!r}] = None")
    assert done.returncode == 2
    assert "pip install 'ssh-relay[web]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_who_does_not_ask_for_it_does_not_load_it(site: Site) -> None:
    """Not even where it is installed."""
    script = "import sys, relay.cli.server, relay.server.program, relay.control.of_server\n"
    script += "sys.exit(any(name in sys.modules for name in ('starlette', 'relay.web')))"
    subprocess.run([sys.executable, "-c", script], check=True)


# -- status:80


@pytest.mark.parametrize("opener", ["relay-connect", "ssh"])
def test_the_page_by_way_of_a_key_that_may(site: Site, opener: str) -> None:
    b = relay_server(site, *AT_LOOPBACK)
    site.key("admin", 'permitopen="status:80"')
    _, port = OPENERS[opener](site, b, "status:80", key="admin")
    for _ in range(2):
        assert get(f"http://localhost:{port}/v1/status").json()["legs"] == 1
    assert get(f"http://127.0.0.1:{port}/readyz").text == "ready\n"
    with get(f"http://127.0.0.1:{port}/v1/live", stream=True) as told:
        assert next(told.iter_lines()) == b"retry: 2000"
    evil = get(f"http://127.0.0.1:{port}/v1/status", headers={"Host": "evil.example"})
    assert evil.status_code == 421
    b.process.wait_for("the page is opened by .*admin")


@pytest.mark.parametrize(
    "options",
    ["", 'permitopen="*:*"', 'permitopen="*:80"', 'permitopen="status:*"', 'permitopen="status:81"',
     'permitopen="status:80",no-port-forwarding', 'permitopen="none"'],
)  # fmt: skip
def test_the_page_by_way_of_a_key_that_may_not(site: Site, options: str) -> None:
    b = relay_server(site, *AT_LOOPBACK)
    site.key("curious", options)
    _, port = relay_connect(site, b, "status:80", key="curious")
    with dial(port) as client:
        client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert is_reset(client) or client.recv(1) == b""
    b.process.wait_for("status:80.*this key may not open it")


def test_no_agent_has_its_name(site: Site) -> None:
    b = relay_server(site, *AT_LOOPBACK, "--share-services", "*:*")
    site.key("agent", 'permitlisten="*:*",permitlisten="status:80"')
    for name in ("status", "STATUS", "+status"):
        process = ssh(site, b, "agent", "-R", f"{name}:80:localhost:1")
        process.wait_for("remote port forwarding failed")
    b.process.wait_for("the relay itself has a service of this name", count=3)


def test_without_http_it_is_a_name_as_any_other(site: Site) -> None:
    chain = start_chain(site, "status:80")
    client, service = chain.stream()
    client.sendall(b"x")
    assert service.recv(1) == b"x"


# -- relay-agent and relay-connect


def test_the_metrics_of_the_programs_that_dial(site: Site) -> None:
    chain = start_chain(site, a_options=AT_LOOPBACK, c_options=AT_LOOPBACK)
    _streams = chain.stream()
    for process in (chain.a, chain.c):
        url = where(process)
        told = metrics(url)
        assert told["relay_connected",] == 1
        assert told["relay_streams",] == 1
        assert told["relay_forwards", "granted"] == 1
        assert get(f"{url}/healthz").text == "ok\n"
        assert get(f"{url}/readyz").text == "ready\n"
        for path in ("/v1/status", "/v1/forwards", "/v1/live"):
            assert get(f"{url}{path}").status_code in (404, 503)
    chain.b.process.stop()
    for process in (chain.a, chain.c):
        process.wait_for("lost|trying|again")
        answer = get(f"{where(process)}/readyz")
        assert (answer.status_code, answer.text) == (503, "not connected\n")
        assert metrics(where(process))["relay_connected",] == 0
