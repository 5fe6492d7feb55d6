"""The API as it is written down: to change it is a decision."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import relay
import relay.sync

WRITTEN = Path(__file__).with_name("api.txt")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def lines(module: object, prefix: str) -> list[str]:
    found = []
    for name in module.__all__:  # type: ignore[attr-defined]
        value = getattr(module, name)
        if inspect.ismodule(value):
            found.append(f"{prefix}{name}")
        elif inspect.isclass(value) and not issubclass(value, Exception | relay.Event):
            found.append(f"{prefix}{name}")
            for method, member in sorted(vars(value).items()):
                if method.startswith("_") or not callable(member):
                    if isinstance(member, property) and not method.startswith("_"):
                        found.append(f"{prefix}{name}.{method}")
                    continue
                found.append(f"{prefix}{name}.{method}{inspect.signature(member)}")
        elif inspect.isclass(value):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            found.append(f"{prefix}{name}({bases})")
        else:
            found.append(f"{prefix}{name}{inspect.signature(value)}")
    return found


def test_it_is_as_written() -> None:
    """(`python -m tests.library.test_api` writes it.)"""
    assert WRITTEN.read_text().splitlines() == now()


def now() -> list[str]:
    return lines(relay, "relay.") + lines(relay.sync, "relay.sync.")


USER = """
import anyio
import relay
import relay.sync


async def main() -> None:
    async with relay.connect("user@b", identity="key", wait=3, host_keys="accept-new") as tunnel:
        stream: relay.Stream = await tunnel.open("gpu1:8000")
        await stream.send(b"x")
        data: bytes = await stream.receive()
        async with tunnel.forward("gpu1:8000", listen=3000) as forward:
            address: str = forward.address
        async with tunnel.listen("web1:80") as listener:
            await listener.serve(handle)
        async for event in tunnel.events():
            if isinstance(event, relay.Disconnected):
                print(event.reason, data, address)
    async with relay.serve(listen="127.0.0.1:0", state_dir="state") as server:
        print(server.addresses[0])


async def handle(stream: relay.Stream) -> None:
    async for data in stream:
        await stream.send(data)


with relay.sync.connect("user@b") as tunnel, tunnel.open_socket("gpu1:8000") as sock:
    sock.sendall(b"x")
try:
    anyio.run(main)
except relay.NotPublished as error:
    print(error)
"""

WRONG = """
import relay


async def main() -> None:
    async with relay.connect("user@b", prot=3) as tunnel:
        await tunnel.opne("x")
"""


def test_types_from_the_outside(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    cache = tmp_path / "cache"

    def mypy(file: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), file]
        environment = {"MYPYPATH": str(Path(relay.__file__).parent.parent)}
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )

    assert mypy("user.py").stdout.startswith("Success")
    said = mypy("wrong.py").stdout
    assert 'Unexpected keyword argument "prot"' in said
    assert '"Tunnel" has no attribute "opne"' in said


def test_pydoc_reads_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pydoc", "relay"], capture_output=True, text=True, check=True
    )
    for name in ("connect(destination", "class Tunnel", "class Stream", "serve(*, listen"):
        assert name in done.stdout, name


if __name__ == "__main__":
    WRITTEN.write_text("".join(f"{line}\n" for line in now()))
