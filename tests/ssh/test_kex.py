"""relay/ssh/kex.py: each method of `ServerKex` against asyncssh's own client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from hashlib import sha512
from typing import Any

import asyncssh
import pytest
from asyncssh.crypto import Curve25519DH
from asyncssh.kex import Kex, get_kex
from asyncssh.kex_dh import _KexHybridECDH
from asyncssh.packet import PacketDecodeError, SSHPacket

from relay.errors import ProtocolViolation
from relay.ssh import kex as kex_module
from relay.ssh.kex import METHODS, MLKEM768_SIZE, X25519_SIZE, ServerKex
from relay.trust.algorithms import SNTRUP_KEX
from relay.wire import sntrup
from relay.wire.encoding import byte, string
from relay.wire.numbers import MSG_KEX_ECDH_INIT, MSG_KEX_ECDH_REPLY

KEYS = {
    "ed25519": asyncssh.generate_private_key("ssh-ed25519"),
    "rsa": asyncssh.generate_private_key("ssh-rsa", key_size=2048),
}

SNTRUP = [name.encode() for name in SNTRUP_KEX]

methods = pytest.mark.parametrize("method", METHODS, ids=bytes.decode)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Conn:
    """What a `Kex` asks of its connection."""

    def __init__(self, *, client: bool, key: str = "ed25519") -> None:
        self._client = client
        self.logger = self
        self.sent: list[bytes] = []
        self.keys: tuple[bytes, bytes] | None = None
        self.ended = False
        self.host_key = asyncssh.load_keypairs([KEYS[key]])[0]

    def get_child(self, *args: Any) -> Conn:
        return self

    def is_client(self) -> bool:
        return self._client

    def is_server(self) -> bool:
        return not self._client

    def get_hash_prefix(self) -> bytes:
        return b"versions and KEXINITs"

    def send_packet(self, kind: int, *parts: bytes, handler: object = None) -> None:
        self.sent.append(byte(kind) + b"".join(parts))

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        self.keys = k, h

    def validate_server_host_key(self, data: bytes) -> Any:
        key = asyncssh.public_key.decode_ssh_public_key(data)
        assert key.public_data == self.host_key.public_data
        return key


class Sntrup761:
    """The client's half, for which this machine has no library: it is told the server's secret."""

    pubkey_bytes = sntrup.PUBLIC_KEY_SIZE
    ciphertext_bytes = 1039
    agreed: dict[bytes, bytes] = {}  # noqa: RUF012

    def __init__(self, name: bytes) -> None:
        self._public = os.urandom(self.pubkey_bytes)  # Any bytes are some key.

    def get_public(self) -> bytes:
        return self._public

    def decaps(self, ciphertext: bytes) -> bytes:
        return self.agreed[ciphertext]


def client_for(method: bytes, conn: Conn) -> Kex:
    if method not in SNTRUP:
        return get_kex(conn, method)
    return _KexHybridECDH(method, conn, sha512, Sntrup761, b"sntrup761", Curve25519DH)


@pytest.fixture(autouse=True)
def secrets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    encapsulation = sntrup.encapsulation

    def told(public: bytes) -> Any:
        secret, ciphertext = yield from encapsulation(public)
        Sntrup761.agreed[ciphertext] = secret
        return secret, ciphertext

    monkeypatch.setattr(kex_module.sntrup, "encapsulation", told)


async def process(kex: Kex, payload: bytes) -> Any:
    """Give it a message as its connection does."""
    done = kex.process_packet(payload[0], 0, SSHPacket(payload[1:]))
    return await done if asyncio.iscoroutine(done) else done


@methods
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.anyio
async def test_both_sides_agree(method: bytes, key: str) -> None:
    a, b = Conn(client=True, key=key), Conn(client=False, key=key)
    if key == "rsa":
        b.host_key.set_sig_algorithm(b"rsa-sha2-512")
    client, server = client_for(method, a), ServerKex(method, b)
    await server.start()
    assert b.sent == []
    await client.start()
    await process(server, a.sent[0])
    assert b.keys is not None
    assert b.sent[0][0] == MSG_KEX_ECDH_REPLY
    await process(client, b.sent[0])
    assert a.keys == b.keys
    for letter in (b"A", b"F"):
        keys = [kex.compute_key(*b.keys, letter, b"session", 64) for kex in (client, server)]
        assert keys[0] == keys[1]


@methods
@pytest.mark.anyio
async def test_each_exchange_has_keys_of_its_own(method: bytes) -> None:
    a = Conn(client=True)
    await client_for(method, a).start()
    replies = []
    for _ in range(2):
        b = Conn(client=False)
        await process(ServerKex(method, b), a.sent[0])
        replies.append((b.sent[0], b.keys))
    assert replies[0][0] != replies[1][0]
    assert replies[0][1] != replies[1][1]


# -- what no client sends


def public_of(method: bytes) -> bytes:
    conn = Conn(client=True)
    client: Any = client_for(method, conn)
    client._send_init()
    return SSHPacket(conn.sent[0][1:]).get_string()


IMPOSSIBLE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda public: b"",
    "cut short": lambda public: public[:-1],
    "too long": lambda public: public + b"\0",
    "zero": lambda public: public[:-X25519_SIZE] + bytes(X25519_SIZE),
    "one": lambda public: public[:-X25519_SIZE] + b"\1" + bytes(X25519_SIZE - 1),
    "the field's size": lambda public: (
        public[:-X25519_SIZE] + (2**255 - 19).to_bytes(X25519_SIZE, "little")
    ),
}


@methods
@pytest.mark.parametrize("what", IMPOSSIBLE)
@pytest.mark.anyio
async def test_an_impossible_public_key(method: bytes, what: str) -> None:
    """Among them those that make the secret zero (RFC 8731 §3)."""
    conn = Conn(client=False)
    public = IMPOSSIBLE[what](public_of(method))
    with pytest.raises(ProtocolViolation, match="an impossible public key in a key exchange"):
        await process(ServerKex(method, conn), byte(MSG_KEX_ECDH_INIT) + string(public))
    assert (conn.sent, conn.keys) == ([], None)


@pytest.mark.anyio
async def test_an_impossible_key_of_ml_kem() -> None:
    """FIPS 203 §7.2: its numbers must be below the modulus."""
    conn = Conn(client=False)
    public = b"\xff" * MLKEM768_SIZE + public_of(b"curve25519-sha256")
    with pytest.raises(ProtocolViolation, match="an impossible public key"):
        await process(
            ServerKex(b"mlkem768x25519-sha256", conn), byte(MSG_KEX_ECDH_INIT) + string(public)
        )
    assert (conn.sent, conn.keys) == ([], None)


@methods
@pytest.mark.anyio
async def test_a_second_message_is_not_taken(method: bytes) -> None:
    conn = Conn(client=False)
    kex = ServerKex(method, conn)
    message = byte(MSG_KEX_ECDH_INIT) + string(public_of(method))
    first = kex.process_packet(message[0], 0, SSHPacket(message[1:]))
    assert kex.process_packet(message[0], 1, SSHPacket(message[1:])) is False
    await first
    assert len(conn.sent) == 1


@pytest.mark.parametrize("kind", [30, 31, 32, 33, 34, 49])
def test_other_messages_of_a_key_exchange_are_not_taken(kind: int) -> None:
    kex = ServerKex(b"curve25519-sha256", Conn(client=False))
    if kind != MSG_KEX_ECDH_INIT:
        assert kex.process_packet(kind, 0, SSHPacket(b"")) is False
        return
    for fields in (b"", string(b"x" * 32)[:-1], string(b"x" * 32) + b"\0"):
        with pytest.raises(PacketDecodeError):
            ServerKex(b"curve25519-sha256", Conn(client=False)).process_packet(
                kind, 0, SSHPacket(fields)
            )


@pytest.mark.anyio
async def test_a_connection_that_has_ended_meanwhile_is_sent_nothing() -> None:
    conn = Conn(client=False)
    kex = ServerKex(b"curve25519-sha256", conn)
    message = byte(MSG_KEX_ECDH_INIT) + string(public_of(b"curve25519-sha256"))
    answer = kex.process_packet(message[0], 0, SSHPacket(message[1:]))
    conn.ended = True
    await answer
    assert (conn.sent, conn.keys) == ([], None)


@pytest.mark.anyio
async def test_a_slow_exchange_leaves_turns_to_others() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    message = byte(MSG_KEX_ECDH_INIT) + string(public_of(SNTRUP[0]))
    await process(ServerKex(SNTRUP[0], Conn(client=False)), message)
    task.cancel()
    assert turns >= 3
