"""What `import relay` costs, and what it brings."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys

import pytest

import relay
from tests.library.conftest import B


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


HEAVY = {"anyio", "asyncio", "asyncssh", "cryptography", "ssl", "trio", "uvloop"}


def packages_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    assert not packages_after("import relay") & HEAVY
    assert not packages_after("import relay; relay.Refused") & HEAVY


def test_trio_is_imported_by_who_runs_it() -> None:
    assert "trio" not in packages_after("import relay; relay.connect")


def test_what_wants_another_package_is_there_by_its_name() -> None:
    packages = packages_after("import relay; relay.httpx2.AsyncTransport; relay.asgi.serve")
    assert "httpx2" in packages
    assert not packages & {"httpx", "uvicorn", "hypercorn"}


def test_every_name_is_there() -> None:
    for name in relay.__all__:
        assert inspect.getdoc(getattr(relay, name)), name
    assert set(relay.__all__) <= set(dir(relay))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        relay.nonsense  # noqa: B018


def test_without_a_loop() -> None:
    manager = relay.connect("user@127.0.0.1", config="none")
    with pytest.raises(relay.UsageError, match="no event loop is running"):
        manager.__aenter__().send(None)


def test_a_program_that_asyncio_runs(b: B) -> None:
    """asyncio itself says nowhere that it runs, where no task does."""

    async def main() -> None:
        async with (
            b.connect() as tunnel,
            tunnel.listen("plain:1") as listener,
            tunnel.forward("plain:1") as forward,
        ):
            host, _, port = forward.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            stream = await listener.accept()
            await stream.send(b"x")
            assert await reader.read(1) == b"x"
            writer.close()
            await stream.aclose()

    asyncio.run(main())
