"""The library's tests run on asyncio, on uvloop and on trio, around a relay-server of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import relay
from relay.library.thread import NAME
from tests.programs.chain import Server, Site, relay_server

LOOPS = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return LOOPS[request.param]


@dataclass
class B:
    """A relay-server that lets three keys in."""

    site: Site
    server: Server

    def arguments(self, key: str = "client_key", **more: Any) -> dict[str, Any]:
        """What `relay.connect` is given."""
        return {
            "destination": "user@127.0.0.1",
            "config": "none",
            "port": self.server.port,
            "identity": self.site.key(key),
            "known_hosts": self.site.known_hosts,
            "wait": 5,
            "options": {"IdentityAgent": "none"},
        } | more

    def connect(
        self, key: str = "client_key", **more: Any
    ) -> AbstractAsyncContextManager[relay.Tunnel]:
        return relay.connect(**self.arguments(key, **more))


KEYS = {
    "client_key": "",
    "agent_key": "",
    "narrow_key": 'permitopen="none",permitlisten="none"',
}


def a_server(folder: Path, stack: ExitStack, *options: str) -> B:
    site = Site(folder, stack)
    for name, rights in KEYS.items():
        site.key(name, rights)
    return B(site, relay_server(site, *options))


@pytest.fixture(scope="session")
def b(tmp_path_factory: pytest.TempPathFactory) -> Iterator[B]:
    with ExitStack() as stack:
        yield a_server(tmp_path_factory.mktemp("library"), stack)


@pytest.fixture
def own_b(tmp_path: Path) -> Iterator[B]:
    """One that the test may stop."""
    with ExitStack() as stack:
        yield a_server(tmp_path, stack)


def what_is_there() -> Counter[str]:
    """Sockets and the like of this process, our threads, and the tasks of an asyncio loop."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":[")[0])
        except OSError:
            pass  # That of the folder itself.
    found = [kind for kind in found if kind == "socket" or kind.startswith("anon_inode")]
    found += [thread.name for thread in threading.enumerate() if thread.name == NAME]
    try:
        # (anyio has a task for the tests.)
        found += [repr(task) for task in asyncio.all_tasks() if "TestRunner" not in repr(task)]
    except RuntimeError:
        pass
    return Counter(found)


@pytest.fixture(autouse=True)
async def nothing_left(
    anyio_backend: Any, b: B, request: pytest.FixtureRequest
) -> AsyncIterator[None]:
    """A test leaves no descriptor, no thread and no task."""
    for name in {"own_b", "sharing_b"} & set(request.fixturenames):
        request.getfixturevalue(name)  # It begins before, and ends behind this.
    await anyio.lowlevel.checkpoint()
    before = what_is_there()
    yield
    assert what_is_there() - before == Counter()
