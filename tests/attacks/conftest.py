"""A chain for the attacks of one file, and somebody who stands by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.bystander import Bystander, standing_by
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain, Options, Site, start_chain
from tests.programs.conftest import server, shared_site, site

__all__ = ["server", "shared_site", "site"]


@pytest.fixture
def anyio_backend() -> str:
    """asyncssh, which does the honest part, knows no other."""
    return "asyncio"


@pytest.fixture(scope="module")
def b_options() -> Options:
    """The flags of relay-server; a file of attacks may have its own."""
    return ()


@pytest.fixture(scope="module")
def chain(shared_site: Site, b_options: Options) -> Chain:
    """relay-connect, relay-server, relay-agent and a service."""
    return start_chain(shared_site, b_options=b_options)


@pytest.fixture
def bystander(chain: Chain) -> Iterator[Bystander]:
    with standing_by(chain) as bystander:
        yield bystander


@pytest.fixture
async def lines(chain: Chain) -> None:
    """A login gives an address the lines in the log back that strangers there have used up."""
    async with hostile_consumer(chain, "client"):
        pass
