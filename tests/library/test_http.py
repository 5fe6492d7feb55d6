"""HTTP by a tunnel as its users have it: the openai package, httpx2, an ASGI app."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import pytest

import relay
from relay.demo import service as demo
from tests.library.conftest import B

pytestmark = pytest.mark.anyio

SERVICE = "gpu1:8000"
QUESTION: Any = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the demonstration's stand-in for a model, which answers as fast as it can."""
    monkeypatch.setattr(demo, "TOKENS_PER_SECOND", 1e6)
    with demo.Service(("127.0.0.1", 0), demo.Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def test_the_openai_package_gets_its_tokens(b: B, model: int) -> None:
    openai = pytest.importorskip("openai")
    async with (
        b.connect("agent_key") as agent,
        agent.publish(SERVICE, to=model),
        b.connect() as tunnel,
        httpx2.AsyncClient(transport=relay.httpx2.AsyncTransport(tunnel)) as http,
    ):
        client = openai.AsyncOpenAI(
            base_url=f"http://{SERVICE}/v1", http_client=http, api_key="-", max_retries=0
        )
        whole = await client.chat.completions.create(model="qwen", messages=QUESTION)
        async with await client.chat.completions.create(
            model="qwen", stream=True, messages=QUESTION
        ) as chunks:
            words = [chunk.choices[0].delta.content or "" async for chunk in chunks]
        assert len(words) > 20
        assert "".join(words).strip() == whole.choices[0].message.content


async def test_a_service_that_is_not_published(b: B) -> None:
    async with (
        b.connect(wait=0) as tunnel,
        httpx2.AsyncClient(transport=relay.httpx2.AsyncTransport(tunnel)) as http,
    ):
        with pytest.raises(httpx2.ConnectError, match="gpu9:1"):
            await http.get("http://gpu9:1/")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"hello {scope['path']}".encode()})


async def test_an_app_is_reached_behind_b(b: B) -> None:
    async with (
        b.connect("agent_key") as agent,
        b.connect() as tunnel,
        anyio.create_task_group() as tasks,
        httpx2.AsyncClient(transport=relay.httpx2.AsyncTransport(tunnel)) as http,
    ):
        service = await tasks.start(relay.asgi.serve, hello, agent, "web1:80")
        assert service.address == "web1:80"
        for path in ("/one", "/two"):
            assert (await http.get(f"http://web1{path}")).text == f"hello {path}"
        tasks.cancel_scope.cancel()
