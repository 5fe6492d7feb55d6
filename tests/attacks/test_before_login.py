"""Before the login: what floods, what cannot be read, and keys that are changed too soon. Whoever
does that is disconnected, and told of in one line."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String

from relay.core.limits import BYTES_BEFORE_LOGIN, PACKETS_BEFORE_LOGIN
from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    BY_APPLICATION,
    PROTOCOL_ERROR,
    USERAUTH_FAILURE,
    USERAUTH_REQUEST,
    debug,
    disconnect,
    ecdh_init,
    ignore,
    kexinit,
    packet,
    service_request,
    userauth_request,
)
from tests.attacks.peers import stranger, stranger_with_keys
from tests.programs.chain import Chain, Site, relay_server
from tests.programs.stock import login
from tests.trust.certify import body, certified, key_fields

pytestmark = pytest.mark.usefixtures("lines")

USER = bytes([USERAUTH_REQUEST])
SERVICE = String("ssh-connection")
SIGNED = Boolean(True)
ED25519 = String("ssh-ed25519")

VERSION = b"SSH-2.0-stranger\r\n"
CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]

MANY = [ignore()] * 4 * PACKETS_BEFORE_LOGIN
"""As small as packets are."""

MUCH = [ignore(bytes(30_000))] * (1 + BYTES_BEFORE_LOGIN // 30_000)

TOO_MUCH = rf"more than ({PACKETS_BEFORE_LOGIN} packets|{BYTES_BEFORE_LOGIN >> 10} KiB) before"


@pytest.mark.parametrize("flood", [MANY, MUCH], ids=["many packets", "many bytes"])
async def test_a_flood_before_the_keys(
    chain: Chain, bystander: Bystander, flood: list[bytes]
) -> None:
    async with stranger(chain.b) as peer:
        await peer.send(VERSION + b"".join(map(packet, flood)))
        await peer.closed()
        chain.b.process.wait_for(f"{peer.address} did not log in: {TOO_MUCH}")
        bystander.goes_on()


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("flood", [MANY, MUCH], ids=["many packets", "many bytes"])
async def test_a_flood_before_the_login(
    chain: Chain, bystander: Bystander, flood: list[bytes], cipher: str
) -> None:
    async with stranger_with_keys(chain.b, encryption_algs=[cipher]) as peer:
        address = peer.address
        await peer.send(*flood)
        await peer.disconnected(PROTOCOL_ERROR)
        chain.b.process.wait_for(f"{address} did not log in: {TOO_MUCH}")
        bystander.goes_on()


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_keys_are_not_changed_before_the_login(
    chain: Chain, bystander: Bystander, cipher: str
) -> None:
    async with stranger_with_keys(chain.b, encryption_algs=[cipher]) as peer:
        address = peer.address
        peer.begin_key_exchange()
        await peer.disconnected(PROTOCOL_ERROR)
        chain.b.process.wait_for(f"{address} did not log in: a second key exchange")


UNREADABLE: dict[str, bytes] = {
    "a version that is no text": b"SSH-2.0-\xff\r\n",
    "algorithms that are no text": VERSION + packet(kexinit(kex="curve\u00e9")),
    "ciphers that are no text": VERSION + packet(kexinit(cipher="aes\u00e9")),
    "host keys that are no text": VERSION + packet(kexinit(host_key="\u00e9")),
    "a KEXINIT that is cut": VERSION + packet(kexinit()[:40]),
    "a group element of 1": VERSION
    + packet(kexinit(kex="diffie-hellman-group16-sha512"))
    + packet(b"\x1e" + b"\0\0\0\1\1"),
    "a public key of zeros": VERSION + packet(kexinit()) + packet(ecdh_init(bytes(32))),
    "half of a hybrid key": VERSION
    + packet(kexinit(kex="sntrup761x25519-sha512"))
    + packet(ecdh_init(bytes(1158))),
    "padding of more than there is": VERSION + b"\0\0\0\x0c\xff" + bytes(11),
    "a debug message that is cut": VERSION + packet(debug()[:3]),
    "a reason that is no text": VERSION + packet(disconnect(BY_APPLICATION)[:5] + b"\0\0\0\1\xff"),
    "a long reason": VERSION + packet(disconnect(2, "x" * 30_000)),
    "a login before the keys": VERSION + packet(userauth_request("root")),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_one_line(
    chain: Chain, bystander: Bystander, text: bytes
) -> None:
    """The bystander has an eye on traces in the log."""
    async with stranger(chain.b) as peer:
        await peer.send(text)
        await peer.gone()
        chain.b.process.wait_for(f"{peer.address} did not log in: .{{3,600}}$")
        bystander.goes_on()


LOGINS: dict[str, bytes] = {
    "a user that is no text": USER + b"\0\0\0\1\xff" + SERVICE + String("none"),
    "a user that is too long": userauth_request("x" * 2000),
    "a method that is no text": USER + String("x") + SERVICE + String(b"\xff"),
    "no fields": userauth_request("x", "publickey"),
    "a key that is cut": userauth_request("x", "publickey", SIGNED + ED25519 + String(ED25519)),
    "a key of a kind that is no text": userauth_request(
        "x", "publickey", SIGNED + String(b"\xff") + String(String(b"\xff"))
    ),
    "a signature that is cut": userauth_request(
        "x", "publickey", SIGNED + ED25519 + String(ED25519 + String(bytes(32))) + String("x")
    ),
}

ED25519_CERTIFICATE = b"ssh-ed25519-cert-v01@openssh.com"
RSA_CERTIFICATE = b"ssh-rsa-cert-v01@openssh.com"
NEGATIVE = String(b"\xff") * 2
CA = asyncssh.generate_private_key("ssh-ed25519")


def asked_about(name: bytes, blob: bytes) -> bytes:
    return userauth_request("x", "publickey", Boolean(False) + String(name) + String(blob))


KEYS: dict[str, bytes] = {
    "an RSA key of negative numbers": asked_about(b"ssh-rsa", String("ssh-rsa") + NEGATIVE),
    "an RSA key of zeros": asked_about(b"ssh-rsa", String("ssh-rsa") + String(b"") * 2),
    "a point on no curve": asked_about(
        b"ecdsa-sha2-nistp256",
        String("ecdsa-sha2-nistp256") + String("nistp256") + String(b"\4" + bytes(64)),
    ),
    "a certificate for an RSA key of negative numbers": asked_about(
        RSA_CERTIFICATE, certified(CA, RSA_CERTIFICATE, NEGATIVE + body())
    ),
    "a certificate by an RSA key of negative numbers": asked_about(
        ED25519_CERTIFICATE,
        certified(
            CA,
            ED25519_CERTIFICATE,
            key_fields(CA) + body(),
            authority=String("ssh-rsa") + NEGATIVE,
        ),
    ),
    "a certificate by a certificate": asked_about(
        ED25519_CERTIFICATE,
        certified(
            CA,
            ED25519_CERTIFICATE,
            key_fields(CA) + body(),
            authority=certified(CA, ED25519_CERTIFICATE, key_fields(CA) + body()),
        ),
    ),
    "a certificate that is cut": asked_about(
        ED25519_CERTIFICATE, certified(CA, ED25519_CERTIFICATE, key_fields(CA) + body())[:-1]
    ),
    "a certificate with options that are cut": asked_about(
        ED25519_CERTIFICATE,
        certified(CA, ED25519_CERTIFICATE, key_fields(CA) + body(critical=b"\0", extensions=b"\0")),
    ),
}


@pytest.mark.parametrize("payload", KEYS.values(), ids=KEYS.keys())
async def test_a_key_that_cannot_be_is_refused_as_any_other(
    chain: Chain, bystander: Bystander, payload: bytes
) -> None:
    async with stranger_with_keys(chain.b) as peer:
        await peer.send(service_request(), payload)
        await peer.expect(USERAUTH_FAILURE)
    bystander.goes_on()


@pytest.mark.parametrize("payload", LOGINS.values(), ids=LOGINS.keys())
async def test_a_login_that_cannot_be_read(
    chain: Chain, bystander: Bystander, payload: bytes
) -> None:
    async with stranger_with_keys(chain.b) as peer:
        address = peer.address
        await peer.send(service_request(), payload)
        await peer.settled()
    chain.b.process.wait_for(f"{address} did not log in")
    bystander.goes_on()


async def test_who_has_many_keys_is_let_in(site: Site) -> None:
    """By an operator who allows that many tries."""
    tries = PACKETS_BEFORE_LOGIN
    b = relay_server(site, "--max-auth-tries", str(tries + 1))
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(tries - 1)]
    keys.append(asyncssh.read_private_key(site.key("client")))
    async with login(site, b, "client", client_keys=keys):
        b.process.wait_for("leg up: .*client")


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
async def test_a_host_key_of_rsa(site: Site, algorithm: str) -> None:
    """Two clients at once that want one algorithm and the other get each its own."""
    site.key("host", None, "ssh-rsa")
    public = site.folder / "state" / "ssh_host_ed25519_key.pub"
    public.write_text(site.public("host").read_text())  # It is what clients are told to know.
    b = relay_server(site, "--host-key", str(site.folder / "host"))
    both = {"rsa-sha2-256", "rsa-sha2-512"}
    for _ in range(5):
        async with (
            login(site, b, "client", server_host_key_algs=[algorithm]) as one,
            login(site, b, "client", server_host_key_algs=[*(both - {algorithm})]) as other,
        ):
            await asyncio.gather(_rekey(one), _rekey(other))
            assert not one.is_closed()
            assert not other.is_closed()


async def _rekey(leg: Any) -> None:
    """An honest key exchange of a client of asyncssh's."""
    leg._send_kexinit()
    leg._kexinit_sent = True
    await leg._make_global_request(b"keepalive@openssh.com")
