"""A site for each test, and one with a relay-server for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.programs.chain import Chain, Server, Site, relay_server, start_chain


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.fixture
def chain(site: Site) -> Chain:
    """Our three programs and a named service."""
    return start_chain(site)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), stack)


@pytest.fixture(scope="module")
def server(shared_site: Site) -> Server:
    """One relay-server for all tests of a file; each has keys of its own."""
    return relay_server(shared_site)
