"""What a line of authorized_keys permits: our server's answer beside a real sshd's.

Each line has a key of its own; its owner logs in at both and asks for the same things. Where the
two differ, `DIFFERENCES` has what and why, so that a change is a decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

import asyncssh
import pytest
from asyncssh import SSHClientConnection

from tests.programs.chain import SERVERS, Server, Site
from tests.programs.stock import login, may_publish
from tests.programs.traffic import free_port


@dataclass(frozen=True)
class Answers:
    """What a key may do; all False where it is not let in."""

    login: bool = False
    opens: frozenset[str] = field(default_factory=frozenset)
    publishes: frozenset[str] = field(default_factory=frozenset)


# P and Q are free ports: whether there is anything to reach is not what is asked.
OPENS: Final = ("localhost:P", "127.0.0.1:P")
PUBLISHES: Final = ("localhost:Q", "127.0.0.1:Q", "localhost:0")

LINES: Final = (
    "",
    "restrict",
    "restrict,port-forwarding",
    "port-forwarding,restrict",
    "no-port-forwarding",
    "no-port-forwarding,port-forwarding",
    'permitopen="localhost:P"',
    'permitopen="LOCALHOST:P"',
    'permitopen="local*:P"',
    'permitopen="*:P"',
    'permitopen="localhost:*"',
    'permitopen="*:*"',
    'permitopen="*"',
    'permitopen="P"',
    'permitopen="localhost:0"',
    'permitopen="localhost:P",permitopen="127.0.0.1:P"',
    'permitopen="127.0.0.1:1"',
    'permitopen="none"',
    'restrict,permitopen="localhost:P"',
    'permitlisten="localhost:Q"',
    'permitlisten="LOCALHOST:Q"',
    'permitlisten="local*:Q"',
    'permitlisten="Q"',
    'permitlisten="*:Q"',
    'permitlisten="*"',
    'permitlisten="localhost:*"',
    'permitlisten="127.0.0.?:Q"',
    'permitlisten="0"',
    'permitlisten="none"',
    'permitlisten="none",permitopen="localhost:P"',
    'permitlisten="localhost:Q",permitopen="none"',
    'from="127.0.0.1"',
    'from="127.0.0.0/8"',
    'from="127.0.0.1/8"',
    'from="10.0.0.0/8"',
    'from="!127.0.0.1,*"',
    'from="*,!10.0.0.1"',
    'from="127.0.0.1",from="127.0.0.1"',
    'expiry-time="20200101"',
    'expiry-time="29991231235959Z"',
    'expiry-time="tomorrow"',
    'command="true",no-pty',
    'environment="A=b"',
    'principals="somebody"',
    "cert-authority",
    "no-touch-required",
    "verify-required",
    "no-such-option",
    "RESTRICT,Port-Forwarding",
    "restrict,",
    'tunnel="0"',
)

NOTHING: Final = Answers(login=True)
OUT: Final = Answers()
EVERY: Final = Answers(True, frozenset(OPENS), frozenset(PUBLISHES))

# The line, ours, sshd's, and why they differ.
DIFFERENCES: Final[dict[str, tuple[Answers, Answers, str]]] = {
    'permitopen="none"': (
        replace(EVERY, opens=frozenset()), OUT,
        "only PermitOpen of sshd_config(5) knows none, here sshd closes the key for it. A grant "
        "for one thing alone cannot be written without a word for nothing.",
    ),
    'permitlisten="none"': (replace(EVERY, publishes=frozenset()), OUT, "the same"),
    'permitlisten="none",permitopen="localhost:P"': (
        Answers(True, opens=frozenset({"localhost:P"})), OUT, "the same",
    ),
    'permitlisten="localhost:Q",permitopen="none"': (
        Answers(True, publishes=frozenset({"localhost:Q"})), OUT, "the same",
    ),
    'permitopen="LOCALHOST:P"': (
        replace(EVERY, opens=frozenset({"localhost:P"})), replace(EVERY, opens=frozenset()),
        "sshd minds the case of letters here. The names of services ignore it, as those of hosts "
        "do, so what permits them must as well.",
    ),
    'permitlisten="LOCALHOST:Q"': (
        replace(EVERY, publishes=frozenset({"localhost:Q"})),
        replace(EVERY, publishes=frozenset()), "the same",
    ),
    "restrict,": (
        OUT, NOTHING,
        "an option was lost behind the comma, and it may have been a restriction.",
    ),
}  # fmt: skip


def filled(text: str, published: int, free: int) -> str:
    """The numbers for P and Q, which stand alone or behind a colon."""
    return (
        text.replace(":P", f":{published}").replace('"P"', f'"{published}"')
        .replace(":Q", f":{free}").replace('"Q"', f'"{free}"')
    )  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Site, Server]]]:
    with ExitStack() as stack:
        made = {}
        for name, start in SERVERS.items():
            site = Site(tmp_path_factory.mktemp(name), stack)
            made[name] = site, start(site)
        yield made


async def ask(site: Site, server: Server, key: str, published: int, free: int) -> Answers:
    opens, publishes = set(), set()
    try:
        async with login(site, server, key, username=site.user) as leg:
            for target in OPENS:
                if await may_open(leg, *address(filled(target, published, free))):
                    opens.add(target)
            for bind in PUBLISHES:
                if await may_publish(leg, *address(filled(bind, published, free))):
                    publishes.add(bind)
            return Answers(True, frozenset(opens), frozenset(publishes))
    except asyncssh.PermissionDenied:
        return Answers()


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def may_open(leg: SSHClientConnection, host: str, port: int) -> bool:
    """Permitted, whether it is reached or not."""
    try:
        _, writer = await leg.open_connection(host, port)
    except asyncssh.ChannelOpenError as error:
        return error.code != asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
    writer.close()
    return True


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_sshd(
    places: dict[str, tuple[Site, Server]], line: str
) -> None:
    published, free = free_port(), free_port()
    found = {}
    for name, (site, server) in places.items():
        key = f"line-{LINES.index(line)}"
        site.key(key, filled(line, published, free))
        found[name] = asyncio.run(ask(site, server, key, published, free))
    if line in DIFFERENCES:
        ours, theirs, _ = DIFFERENCES[line]
        assert found == {"relay-server": ours, "sshd": theirs}
    else:
        assert found["relay-server"] == found["sshd"]


def test_the_oracle_tells_lines_apart(places: dict[str, tuple[Site, Server]]) -> None:
    """A server that answered all alike would agree with anything."""
    site, server = places["sshd"]
    published, free = free_port(), free_port()

    def answers(name: str, line: str) -> Answers:
        site.key(name, filled(line, published, free))
        return asyncio.run(ask(site, server, name, published, free))

    assert answers("every", "") == EVERY
    assert answers("nothing", "restrict") == NOTHING
    assert answers("out", "no-such-option") == OUT
    opens = answers("opens", 'permitopen="localhost:P",permitlisten="127.0.0.1:Q"')
    assert opens == Answers(True, frozenset({"localhost:P"}), frozenset({"127.0.0.1:Q"}))
