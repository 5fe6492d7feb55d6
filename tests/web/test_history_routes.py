"""`/v1/history/...`: what it answers is what it says in its OpenAPI document, and to whom."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest

from relay.control.api import Api, Request
from relay.control.openapi import ERROR
from relay.control.openapi_server import VERSION
from relay.events import Events, LegName
from relay.events.server import KeyRefused, LoginFailed, ServicePublished
from relay.web import history_routes
from relay.web.history import History
from relay.web.store import FILE_NAME, Store
from tests.web.test_history import START, B

ME = LegName(1, "SHA256:me", "laptop", "192.0.2.1:5")
NOW = START + 3600.0


def asked(
    store: Store, story: Callable[[History, Callable[[str], Awaitable[Any]]], Awaitable[None]]
) -> None:
    """`story` may ask a history that has something to tell."""

    async def at_once(call: Callable[[], Any]) -> Any:
        return call()

    async def main() -> None:
        relay = B()
        history = History(store, relay, Events(), clock=lambda: NOW, elsewhere=at_once)
        route = relay.publish("gpu1:8000")
        history(ServicePublished("gpu1:8000", ME))
        history(KeyRefused(ME, "192.0.2.7", "SHA256:x", "unknown key"))
        history(LoginFailed(ME, "192.0.2.7", "gone", inner=False))
        relay.move(route, 60, 600)
        await history.minute_over()
        await history._write()
        api = Api(history_routes.routes(history), refused=lambda request: None)

        async def ask(target: str) -> Any:
            return await api.answer(Request("GET", f"/v1/history/{target}", {}, b""))

        await story(history, ask)

    anyio.run(main)


def conforms(body: object, name: str) -> None:
    schemas = {**history_routes.SCHEMAS, "Error": ERROR}
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    jsonschema_rs.validate(schema, body)


def test_the_answers_are_as_they_are_described(tmp_path: Path) -> None:
    async def story(history: History, ask: Callable[[str], Awaitable[Any]]) -> None:
        events = (await ask("events?limit=2&search=laptop&kind=published&before=99")).body
        conforms(_json(events), "Events")
        assert [one["text"] for one in events["events"]] == ["laptop published gpu1:8000"]
        rates = (await ask("rates?services=gpu1:8000+idle:1")).body
        conforms(_json(rates), "Rates")
        assert [one["service"] for one in rates["services"]] == ["gpu1:8000", "idle:1"]
        assert rates["services"][0]["minutes"][-1] == rates["all"][-1] == [60, 600]
        refused = (await ask("refused?hours=1&limit=5")).body
        conforms(_json(refused), "RefusedLogins")
        assert [one["source"] for one in refused["refused"]] == ["192.0.2.7"]

    asked(Store(tmp_path / FILE_NAME), story)
    assert VERSION["const"] == history_routes.VERSION


def _json(body: Any) -> Any:
    return json.loads(json.dumps(body))


@pytest.mark.parametrize(
    "target",
    [
        "events?limit=0", "events?limit=201", "events?limit=-1", "events?limit=1e2",
        "events?limit=" + "9" * 5000, "events?limit=\u0661", "events?before=x",
        f"events?before={1 << 63}", "events?kind=nonsense", "events?nonsense=1",
        "rates?services=" + "+".join(f"x{n}:1" for n in range(201)), "refused?hours=169",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, target: str) -> None:
    async def story(history: History, ask: Callable[[str], Awaitable[Any]]) -> None:
        answer = await ask(target)
        assert answer.status == 400
        conforms(answer.body, "Error")

    asked(Store(tmp_path / FILE_NAME), story)


@pytest.mark.parametrize("search", ["%25", "'%3B+DROP+TABLE+event", "%00", "%F0%9F%98%80", "_"])
def test_a_search_is_for_characters(tmp_path: Path, search: str) -> None:
    async def story(history: History, ask: Callable[[str], Awaitable[Any]]) -> None:
        answer = await ask(f"events?search={search}")
        assert (answer.status, answer.body["events"]) == (200, [])
        assert len((await ask("events")).body["events"]) == 3

    asked(Store(tmp_path / FILE_NAME), story)


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    class Broken(Store):
        def events(self, limit: int, **more: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

    async def story(history: History, ask: Callable[[str], Awaitable[Any]]) -> None:
        answer = await ask("events")
        assert answer.status == 503
        assert "disk I/O error" in answer.body["error"]

    asked(Broken(tmp_path / FILE_NAME), story)
