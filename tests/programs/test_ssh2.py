"""node's ssh2, an implementation of its own from the packets up, on both sides of our three."""

from __future__ import annotations

from typing import Final

import pytest

from tests.programs.chain import (
    NAMED,
    PORT,
    Chain,
    Site,
    relay_agent,
    relay_connect,
    relay_server,
)
from tests.programs.sessions import agent_itself
from tests.programs.ssh2 import Ssh2, blob, fetch
from tests.programs.test_matrix import (
    CHANGES,
    many_at_once,
    the_client_ends_first,
    the_service_ends_first,
    the_service_refuses,
)
from tests.programs.traffic import MIB, exchange

GCM: Final = "aes128-gcm@openssh.com"
CHACHA: Final = "chacha20-poly1305@openssh.com"
CTR: Final = "aes256-ctr"

SIZE: Final = 16 * MIB
REKEY: Final = 4 * MIB


@pytest.fixture
def ssh2(request: pytest.FixtureRequest) -> Ssh2:
    return Ssh2(fetch(request.config.cache))


def chain_of(
    site: Site,
    ssh2: Ssh2,
    role: str,
    bind: str = NAMED,
    b_options: tuple[str, ...] = (),
    **options: object,
) -> Chain:
    """Ours, and ssh2 as A, as C, or as both."""
    service = site.service()
    b = relay_server(site, *b_options)
    if "C" in role:
        c, name = ssh2.agent(site, b, bind, service.port, **options)
    else:
        c, name = relay_agent(site, b, bind, service.port)
    if "A" in role:
        a, port = ssh2.connect(site, b, name, **options)
    else:
        a, port = relay_connect(site, b, name)
    return Chain(a, b, c, port, service, site)


@pytest.mark.parametrize("cipher", [GCM, "aes256-gcm@openssh.com", CHACHA, CTR])
@pytest.mark.parametrize("role", ["A", "C"])
def test_every_cipher_while_either_side_changes_keys(
    site: Site, ssh2: Ssh2, role: str, cipher: str
) -> None:
    """16 MiB each way at once. ssh2 asks for new keys, and B does."""
    chain = chain_of(
        site, ssh2, role, b_options=("--rekey-limit", "6M"), cipher=cipher, rekey=REKEY
    )
    exchange(*chain.stream(), SIZE)
    program = chain.a if role == "A" else chain.c
    program.wait_for(f"keys for .*: {cipher}", count=1 + CHANGES)
    name = "client" if role == "A" else "agent"
    chain.b.process.wait_for(rf"leg up: .*\({name}\).* {cipher}$")


@pytest.mark.parametrize("bind", [NAMED, PORT], ids=["name", "port"])
@pytest.mark.parametrize("role", ["A", "C", "A and C"])
def test_streams_and_how_they_end(site: Site, ssh2: Ssh2, role: str, bind: str) -> None:
    chain = chain_of(site, ssh2, role, bind)
    the_client_ends_first(chain)
    the_service_ends_first(chain)
    many_at_once(chain)
    the_service_refuses(chain)


def test_what_is_refused_is_told(site: Site, ssh2: Ssh2) -> None:
    b = relay_server(site)
    site.key("agent", 'permitlisten="gpu2:1"')
    agent = ssh2.start(site, b, "agent", publish=["gpu1", 8000, 1])
    agent.wait_for("refused: ")
    b.process.wait_for("gpu1:8000 refused to .*this key may not publish it")


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        # No chacha20 within chacha20: ssh2 garbles it, for an sshd behind an sshd too.
        (GCM, GCM), (GCM, CHACHA), (CHACHA, GCM), (CTR, CTR), (CTR, CHACHA),
    ],
)  # fmt: skip
def test_a_session_end_to_end(site: Site, ssh2: Ssh2, outer: str, inner: str) -> None:
    """Its second connection goes through its first, to an agent's endpoint. The keys of both are
    changed: of the outer by B, of the inner by ssh2."""
    b = relay_server(site, "--rekey-limit", "6M")
    site.key("agent"), site.key("client")
    agent, port = agent_itself(site, b)
    line = site.known_hosts.read_text().splitlines()[-1]
    assert line.startswith("gpu1 ")
    service = site.service()
    client, local = ssh2.connect(
        site, b, f"127.0.0.1:{service.port}",
        through=["gpu1", port, blob(line), inner], cipher=outer, rekey=REKEY,
    )  # fmt: skip
    chain = Chain(client, b, agent, local, service, site)
    exchange(*chain.stream(), SIZE)
    client.wait_for(f"keys for 127.0.0.1: {outer}", count=1 + CHANGES)
    client.wait_for(f"keys for gpu1: {inner}", count=1 + CHANGES)
    the_client_ends_first(chain)
    the_service_ends_first(chain)
    many_at_once(chain)
    the_service_refuses(chain)
