"""The transports for httpx2 and httpx: requests, answers and errors as each library has them."""

from __future__ import annotations

import ssl
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import SERVICE, Direct, HttpService

URL = f"http://{SERVICE}"
LARGE = 3_000_000

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["httpx2", "httpx"])
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def client(name: str) -> Any:
    """The client library."""
    return pytest.importorskip(name)


@pytest.fixture
def ours(name: str) -> Any:
    """Our module for it."""
    return import_module(f"relay.{name}")


def http(client: Any, ours: Any, tunnel: Any, **settings: Any) -> Any:
    return client.AsyncClient(transport=ours.AsyncTransport(tunnel, **settings))


async def test_the_url_names_the_service(client: Any, ours: Any, service: HttpService) -> None:
    tunnel = Direct(service.port)
    async with http(client, ours, tunnel) as web:
        answer = await web.get(f"{URL}/who")
        assert answer.status_code == 200
        assert answer.json()["host"] == SERVICE
    assert tunnel.opened == [SERVICE]


@pytest.mark.parametrize(
    ("url", "service_opened"),
    [
        ("http://gpu1/who", "gpu1:80"),
        ("https://gpu1/who", "gpu1:443"),
        ("http://[::1]:8000/who", "[::1]:8000"),
    ],
)
async def test_a_url_without_a_port(
    client: Any, ours: Any, service: HttpService, url: str, service_opened: str
) -> None:
    tunnel = Direct(service.port)
    async with http(client, ours, tunnel) as web:
        with pytest.raises(client.ConnectError, match="may not open it"):
            await web.get(url)
    assert tunnel.opened == [service_opened]


async def test_one_connection_for_many_requests(
    client: Any, ours: Any, service: HttpService
) -> None:
    tunnel = Direct(service.port)
    async with http(client, ours, tunnel) as web:
        peers = {(await web.get(f"{URL}/who")).json()["peer"] for _ in range(5)}
    assert len(peers) == 1
    assert tunnel.opened == [SERVICE]


async def test_a_connection_that_ended_meanwhile_is_not_used_again(
    client: Any, ours: Any, service: HttpService
) -> None:
    tunnel = Direct(service.port)
    async with http(client, ours, tunnel) as web:
        for _ in range(5):
            assert (await web.get(f"{URL}/last")).status_code == 200
            tunnel.wait_for_the_end()
    assert len(tunnel.opened) == 5


async def test_a_large_body(client: Any, ours: Any, service: HttpService) -> None:
    async with http(client, ours, Direct(service.port)) as web:
        answer = await web.post(f"{URL}/", content=b"x" * LARGE)
        assert answer.json() == {"size": LARGE, "first": "x"}


async def test_tokens_come_as_they_are_made(client: Any, ours: Any, service: HttpService) -> None:
    tokens = []
    web = http(client, ours, Direct(service.port))
    async with web, web.stream("GET", f"{URL}/tokens") as answer:
        async for line in answer.aiter_lines():
            tokens.append(line)
            service.tokens.release()
    assert tokens == ["token 0", "token 1", "token 2"]


async def test_half_an_answer_is_an_error(client: Any, ours: Any, service: HttpService) -> None:
    async with http(client, ours, Direct(service.port)) as web:
        with pytest.raises(client.RemoteProtocolError):
            await web.get(f"{URL}/half")


async def test_a_service_that_is_not_there(client: Any, ours: Any, service: HttpService) -> None:
    async with http(client, ours, Direct(service.port)) as web:
        with pytest.raises(client.ConnectError, match="gpu2:8000: this key may not open it"):
            await web.get("http://gpu2:8000/")


async def test_an_answer_that_takes_too_long(client: Any, ours: Any, service: HttpService) -> None:
    async with http(client, ours, Direct(service.port)) as web:
        with pytest.raises(client.ReadTimeout):
            await web.get(f"{URL}/never", timeout=0.05)


async def test_tls_ends_at_the_service(
    client: Any, ours: Any, tls_service: tuple[HttpService, Path]
) -> None:
    service, trusted = tls_service
    known = f"127.0.0.1:{service.port}"
    tunnel = Direct(service.port, (known,))
    verify = ssl.create_default_context(cafile=trusted)
    async with http(client, ours, tunnel, verify=verify) as web:
        for _ in range(2):
            assert (await web.get(f"https://{known}/who")).json()["host"] == known
    assert tunnel.opened == [known]
    async with http(client, ours, tunnel) as web:
        with pytest.raises(client.ConnectError, match="certificate"):
            await web.get(f"https://{known}/who")


def test_threads(client: Any, ours: Any, service: HttpService) -> None:
    tunnel = Direct(service.port)
    with client.Client(transport=ours.Transport(tunnel)) as web:
        assert len({web.get(f"{URL}/who").json()["peer"] for _ in range(5)}) == 1
        assert web.post(f"{URL}/", content=b"x" * LARGE).json()["size"] == LARGE
        service.tokens.release(2)
        with web.stream("GET", f"{URL}/tokens") as answer:
            assert list(answer.iter_lines()) == ["token 0", "token 1", "token 2"]
        for _ in range(5):
            assert web.get(f"{URL}/last").status_code == 200
            tunnel.wait_for_the_end()
        with pytest.raises(client.RemoteProtocolError):
            web.get(f"{URL}/half")
        with pytest.raises(client.ConnectError, match="may not open it"):
            web.get("http://gpu2:8000/")
        with pytest.raises(client.ReadTimeout):
            web.get(f"{URL}/never", timeout=0.05)


def test_threads_and_tls(client: Any, ours: Any, tls_service: tuple[HttpService, Path]) -> None:
    service, trusted = tls_service
    known = f"127.0.0.1:{service.port}"
    tunnel = Direct(service.port, (known,))
    verify = ssl.create_default_context(cafile=trusted)
    with client.Client(transport=ours.Transport(tunnel, verify=verify)) as web:
        for _ in range(2):
            assert web.get(f"https://{known}/who").json()["host"] == known
    assert tunnel.opened == [known]
    web = client.Client(transport=ours.Transport(tunnel))
    with web, pytest.raises(client.ConnectError, match="certificate"):
        web.get(f"https://{known}/who")
