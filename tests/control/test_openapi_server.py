"""The same of relay-server: its control API does what its OpenAPI document says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from relay.control import openapi_server
from relay.control.of_server import ServerOperations
from relay.control.openapi import document
from tests.control.test_openapi import UnixAdapter
from tests.programs.chain import Site, start_chain


def described() -> Any:
    async def main() -> Any:
        nobody: Any = SimpleNamespace(relay=None)
        return document(
            "relay-server", ServerOperations(nobody).routes()[:-1], openapi_server.SCHEMAS
        )

    return anyio.run(main)


schema = schemathesis.openapi.from_dict(described())


class Socket:
    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(self._path))
        return sock


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """A real chain, with a stream that is open."""
    with TemporaryDirectory(prefix="relay-") as folder, ExitStack() as stack:
        site = Site(Path(folder), stack)
        chain = start_chain(site)
        for one in chain.stream():
            stack.callback(one.close)
        with requests.Session() as session:
            session.mount("http://", UnixAdapter(Socket(site.folder / "state" / "control.sock")))
            yield session


@schema.include(path_regex="^(?!/v1/drain)").parametrize()
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_document_is_true(case: Any, session: requests.Session) -> None:
    # What has a name, and where another answer ended, is no matter of a schema.
    free = case.path == "/v1/kick" or "after" in (case.query or {})
    left_out = [positive_data_acceptance] if free else []
    case.call_and_validate(session=session, base_url="http://localhost", excluded_checks=left_out)


def test_everything_is_described(session: requests.Session) -> None:
    answered = session.get("http://localhost/openapi.json").json()
    assert answered == described()
    assert set(answered["paths"]) == {
        "/openapi.json", "/v1/status", "/v1/legs", "/v1/services", "/v1/streams", "/v1/kick",
        "/v1/reload", "/v1/drain",
    }  # fmt: skip
