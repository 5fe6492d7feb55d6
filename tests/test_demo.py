"""The demonstration is the first thing that a newcomer runs: it works, and leaves nothing."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from relay.demo import service
from relay.demo.service import Handler, Service


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.client.HTTPConnection]:
    monkeypatch.setattr(service, "TOKENS_PER_SECOND", 10_000)
    with Service(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


def post(client: http.client.HTTPConnection, body: bytes) -> http.client.HTTPResponse:
    client.request("POST", "/v1/chat/completions", body)
    return client.getresponse()


def test_the_service_streams_what_it_would_answer(client: http.client.HTTPConnection) -> None:
    whole = json.load(post(client, b'{"model": "m"}'))
    assert whole["model"] == "m"
    response = post(client, b'{"stream": true}')
    assert response.headers["Content-Type"] == "text/event-stream"
    events = response.read().decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    *chunks, last, done = [event.removeprefix("data: ") for event in events]
    assert done == "[DONE]"
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"
    tokens = [json.loads(chunk)["choices"][0]["delta"]["content"] for chunk in chunks]
    assert "".join(tokens).strip() == whole["choices"][0]["message"]["content"]


def test_the_service_sends_bytes(client: http.client.HTTPConnection) -> None:
    for size in (0, 1, (3 << 20) + 1):
        client.request("GET", f"/bytes/{size}")
        assert len(client.getresponse().read()) == size


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_the_service_refuses_nonsense(client: http.client.HTTPConnection, body: bytes) -> None:
    assert post(client, body).status == 400


def test_the_service_knows_its_paths(client: http.client.HTTPConnection) -> None:
    for path in ("/", "/bytes/", "/bytes/-1", "/bytes/x"):
        client.request("GET", path)
        response = client.getresponse()
        assert response.status == 404
        response.read()


def test_the_demonstration() -> None:
    command = [sys.executable, "-m", "relay.demo", "--size", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu1:8000 -> localhost:" in done.stdout
    assert "Hello from behind the firewall." in done.stdout
    assert "8 MiB from C through B to A" in done.stdout
