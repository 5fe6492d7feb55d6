"""The programs of relay/examples, as they are started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import relay
import relay.examples
from tests.library.conftest import B, a_server

ANSWER = b"HTTP/1.0 200 OK\r\n\r\nqwen\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def config(b: B, key: str) -> Path:
    """What a user would have in ~/.ssh/config."""
    path = b.site.folder / f"{key}.config"
    path.write_text(
        f"Port {b.server.port}\nIdentityFile {b.site.key(key)}\nIdentityAgent none\n"
        f"UserKnownHostsFile {b.site.known_hosts}\n"
    )
    path.chmod(0o600)
    return path


def command(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", f"relay.examples.{name}", *map(str, arguments)]


def test_each_is_tried_here_and_told_of() -> None:
    files = Path(relay.examples.__file__).parent.glob("[a-z]*.py")
    names = {path.stem for path in files}
    assert names == {"ask_asyncio", "ask_trio", "ask_blocking", "pool", "embedded"}
    assert all(f"relay.examples.{name} " in str(relay.examples.__doc__) for name in names)


@pytest.mark.parametrize("name", ["ask_asyncio", "ask_trio", "ask_blocking"])
def test_a_client_of_a_model(b: B, name: str) -> None:
    def answer(stream: relay.sync.Stream) -> None:
        assert stream.receive().startswith(b"GET /v1/models")
        stream.send(ANSWER)

    with (
        relay.sync.connect(**b.arguments("agent_key")) as tunnel,
        tunnel.listen(f"{name}:8000") as listener,
    ):
        asking = subprocess.Popen(
            command(name, "user@127.0.0.1", f"{name}:8000", config(b, "client_key")),
            stdout=subprocess.PIPE,
        )
        with listener.accept() as stream:
            answer(stream)
        said, _ = asking.communicate()
    assert asking.returncode == 0
    assert said == ANSWER


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
def test_embedded() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    done = subprocess.run(command("embedded"), check=True, capture_output=True, env=environment)
    assert done.stdout == b"hello\n"


@pytest.fixture
def sharing_b(tmp_path: Path) -> Iterator[B]:
    with ExitStack() as stack:
        yield a_server(tmp_path, stack, "--share-services", "pool:1")


def test_a_pool(sharing_b: B) -> None:
    b = sharing_b
    keys = [b.site.key(f"worker{number}", 'permitlisten="pool:1"') for number in range(3)]
    pool = command("pool", "user@127.0.0.1", "pool:1", config(b, "client_key"), *keys)
    workers = b.site.start("pool", *pool)
    workers.wait_for("serves pool:1", count=3)
    with relay.sync.connect(**b.arguments()) as tunnel, ExitStack() as streams:
        opened = [streams.enter_context(tunnel.open("pool:1")) for _ in range(3)]
        heard = {stream.receive() for stream in opened}
    workers.stop()
    assert heard == {b"worker 0\n", b"worker 1\n", b"worker 2\n"}
