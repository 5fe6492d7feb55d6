"""The control API does what its OpenAPI document says, whatever it is asked: schemathesis reads the
document and makes up the requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol
from unittest import mock

import anyio
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from requests.adapters import HTTPAdapter
from schemathesis.specs.openapi.checks import positive_data_acceptance
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from relay.control import openapi
from relay.control.api import Answer
from relay.control.kinds import OF_AGENT, OF_CONNECT
from relay.control.operations import Operations
from tests.control.bench import Program, program

OPERATIONS = {"status", "forwards", "forward", "cancel", "stop", "exit", "openapi"}


def document() -> Any:
    async def main() -> Any:
        running: Any = None
        return openapi.document(
            "relay-agent", Operations("relay-agent", running, OF_AGENT).routes()
        )

    return anyio.run(main)


schema = schemathesis.openapi.from_dict(document())


class Connects(Protocol):
    def connect(self) -> socket.socket: ...


class UnixAdapter(HTTPAdapter):
    """requests, over a unix socket."""

    def __init__(self, one: Connects) -> None:
        super().__init__()
        self._one = one

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        one = self._one

        class Connection(HTTPConnection):
            def connect(self) -> None:
                self.sock = one.connect()

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        return Pool("localhost")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    """A program in a thread. It is asked to end again and again, and says yes, and goes on."""
    ends = Operations._ends

    def goes_on(self: Operations, *, waits: bool) -> Answer:
        return replace(ends(self, waits=waits), after=lambda: None)

    started, over = threading.Event(), threading.Event()
    programs: list[Program] = []

    async def main() -> None:
        async with program(tmp_path_factory.mktemp("control")) as one:
            programs.append(one)
            started.set()
            await anyio.to_thread.run_sync(over.wait)

    thread = threading.Thread(target=anyio.run, args=(main,))
    thread.start()
    try:
        started.wait()
        with mock.patch.object(Operations, "_ends", goes_on), requests.Session() as session:
            session.mount("http://", UnixAdapter(programs[0]))
            yield session
    finally:
        over.set()
        thread.join()


@schema.parametrize()
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_document_is_true(case: Any, session: requests.Session) -> None:
    # What a forward looks like is ssh's grammar, which no schema says.
    left_out = [positive_data_acceptance] if "forward" in str(case.body) + str(case.query) else []
    case.call_and_validate(session=session, base_url="http://localhost", excluded_checks=left_out)


def test_everything_is_described(session: requests.Session) -> None:
    answered = session.get("http://localhost/openapi.json").json()
    assert answered == document()
    names = {
        operation["operationId"] for path in answered["paths"].values()
        for operation in path.values()
    }  # fmt: skip
    assert names == OPERATIONS


def test_each_program_names_its_own_kinds() -> None:
    for kinds in (OF_AGENT, OF_CONNECT):
        described: Any = openapi.forward(kinds)["requestBody"]
        fields = described["content"]["application/json"]["schema"]["properties"]
        assert fields["kind"]["enum"] == list(kinds)
