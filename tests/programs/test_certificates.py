"""What certificates and security keys must show: the same to our server as to sshd."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import asyncssh
import pytest
from asyncssh import public_key, sk_eddsa
from asyncssh.packet import SSHPacket
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.wire.encoding import byte, string, uint32
from tests.programs.chain import SERVERS, Server, Site, find, run
from tests.programs.stock import may_login
from tests.trust.certify import HIDDEN, body, certified, key_fields, option, type_of

CURVES: Final = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")

TOUCHED: Final = 0x01
VERIFIED: Final = 0x04


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Site, Server]]]:
    """A site for each server, made when it is first asked for."""
    with ExitStack() as stack:
        made: dict[str, tuple[Site, Server]] = {}
        yield made
        for site, _ in made.values():
            stack.push(site.stack)


@pytest.fixture(params=SERVERS)
def place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    sites: dict[str, tuple[Site, Server]],
) -> tuple[Site, Server]:
    """A site and its server: ours, and sshd."""
    name = request.param
    if name not in sites:
        site = Site(tmp_path_factory.mktemp(name), ExitStack())
        sites[name] = site, SERVERS[name](site)
    return sites[name]


class Readable(public_key.SSHOpenSSHCertificateV01):
    """One for asyncssh to log in with that it would not read: its reader does not know
    `verify-required` nor other critical options, and takes an unknown extension's data for the
    next one's name."""

    @classmethod
    def _decode_options(cls, options: bytes, decoders: Any, critical: bool = True) -> Any:
        return {}


def sign(site: Site, ca: str, key: str, *options: str) -> Any:
    """The certificate that `ssh-keygen -s` makes for the public key of this name."""
    run(
        find("ssh-keygen"), "-q", "-s", site.folder / ca, "-I", "an id", "-n", site.user, *options,
        site.public(key),
    )  # fmt: skip
    encoded = (site.folder / f"{key}-cert.pub").read_text().split()[1]
    return readable(base64.b64decode(encoded))


def readable(blob: bytes) -> Any:
    """A certificate for asyncssh to log in with."""
    packet = SSHPacket(blob)
    algorithm = packet.get_string()
    handler, _ = public_key._certificate_alg_map[algorithm]
    return Readable.construct(packet, algorithm, handler, None)


def allowed(site: Site, server: Server, *keys: Any) -> bool:
    return asyncio.run(may_login(site, server, "", username=site.user, client_keys=list(keys)))


# -- with what an authority signs


@pytest.mark.parametrize(
    ("algorithm", "welcome"), [("rsa-sha2-512", True), ("rsa-sha2-256", True), ("ssh-rsa", False)]
)
def test_an_authority_does_not_sign_with_sha1(
    place: tuple[Site, Server], algorithm: str, welcome: bool
) -> None:
    site, server = place
    site.key("rsa-ca", "cert-authority", algorithm="ssh-rsa")
    key = asyncssh.read_private_key(site.key(algorithm, None))
    certificate = sign(site, "rsa-ca", algorithm, "-t", algorithm)
    assert allowed(site, server, (key, certificate)) is welcome
    if not welcome and server.process.name == "relay-server":
        server.process.wait_for("the certificate is signed with ssh-rsa, which is not accepted")


def test_an_authority_that_is_not_known(place: tuple[Site, Server]) -> None:
    site, server = place
    site.key("somebody-ca", None)
    key = asyncssh.read_private_key(site.key("somebody", None))
    assert not allowed(site, server, (key, sign(site, "somebody-ca", "somebody")))
    if server.process.name == "relay-server":
        server.process.wait_for("unknown certification authority")


def test_a_signature_in_the_name_of_a_known_authority(place: tuple[Site, Server]) -> None:
    site, server = place
    known = asyncssh.read_private_key(site.key("known-ca", "cert-authority"))
    key = asyncssh.read_private_key(site.key("forger", None))
    fields = key_fields(key) + body(principals=string(site.user), extensions=option(HIDDEN))
    good, forged = (
        certified(signer, type_of(key.algorithm), fields, authority=known.public_data)
        for signer in (known, key)
    )
    certificate = readable(good)
    assert allowed(site, server, (key, certificate))
    certificate.public_data = forged  # asyncssh would not read it.
    assert not allowed(site, server, (key, certificate))


# -- what it says


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ssh-rsa", *CURVES])
def test_a_certificate_for_each_type_of_key(place: tuple[Site, Server], algorithm: str) -> None:
    site, server = place
    site.key(f"{algorithm}-ca", "cert-authority", algorithm=algorithm)
    key = asyncssh.read_private_key(site.key(f"a-{algorithm}", None, algorithm=algorithm))
    options = ("-t", "rsa-sha2-512") if algorithm == "ssh-rsa" else ()
    certificate = sign(site, f"{algorithm}-ca", f"a-{algorithm}", *options)
    assert allowed(site, server, (key, certificate))


OPTIONS: Final = [
    (("-O", "extension:other@example.com"), True),
    (("-O", "extension:other@example.com=permit-port-forwarding"), True),
    (("-O", "critical:other@example.com"), False),
    (("-O", "force-command=true"), True),
    (("-O", "source-address=127.0.0.0/8,::1/128"), True),
    (("-O", "source-address=192.0.2.0/24"), False),
    (("-V", "always:forever"), True),
    (("-V", "20200101:20210101"), False),
    (("-V", "20990101:forever"), False),
]


@pytest.mark.parametrize("case", range(len(OPTIONS)))
def test_what_a_certificate_says(place: tuple[Site, Server], case: int) -> None:
    site, server = place
    options, welcome = OPTIONS[case]
    site.key(f"ca-{case}", "cert-authority")
    key = asyncssh.read_private_key(site.key(f"key-{case}", None))
    certificate = sign(site, f"ca-{case}", f"key-{case}", *options)
    assert allowed(site, server, (key, certificate)) is welcome


def test_a_hosts_certificate_is_no_users(place: tuple[Site, Server]) -> None:
    site, server = place
    site.key("host-ca", "cert-authority")
    key = asyncssh.read_private_key(site.key("host", None))
    assert not allowed(site, server, (key, sign(site, "host-ca", "host", "-h")))
    if server.process.name == "relay-server":
        server.process.wait_for("the certificate is a host's, not a user's")


# -- security keys


class SecurityKey:
    """One in software, which vouches for what it is told to."""

    def __init__(self, site: Site, name: str, options: str | None) -> None:
        self.flags = 0
        self._secret = ed25519.Ed25519PrivateKey.generate()
        public = self._secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key = sk_eddsa._SKEd25519Key.make_private((public, "ssh:", TOUCHED, b"handle", b""))
        self.key.write_public_key(site.public(name))
        if options is not None:
            site.authorize(f"{options} {site.public(name).read_text()}".lstrip())

    def sign(self, data: bytes, application: str, *_: object) -> tuple[int, int, bytes, bytes]:
        """`asyncssh.sk.sk_sign`: flags, counter, signature."""
        signed = sk_eddsa.sha256(application.encode()).digest() + byte(self.flags) + uint32(7)
        return self.flags, 7, self._secret.sign(signed + sk_eddsa.sha256(data).digest()), b""


@pytest.fixture
def vouching(monkeypatch: pytest.MonkeyPatch) -> Any:
    def vouch(key: SecurityKey, flags: int) -> Any:
        key.flags = flags
        monkeypatch.setattr(sk_eddsa, "sk_sign", key.sign)
        return key.key

    return vouch


PRESENCE: Final = [
    # What the line says, what the certificate says ("": it is none), what the key vouches for.
    ("", None, TOUCHED, True),
    ("", None, 0, False),
    ("", None, VERIFIED, False),
    ("no-touch-required", None, 0, True),
    ("verify-required", None, TOUCHED, False),
    ("verify-required", None, TOUCHED | VERIFIED, True),
    ("verify-required,no-touch-required", None, VERIFIED, True),
    ("", (), TOUCHED, True),
    ("", (), 0, False),
    ("no-touch-required", (), 0, False),
    ("", ("-O", "no-touch-required"), 0, False),
    ("no-touch-required", ("-O", "no-touch-required"), 0, True),
    ("verify-required", (), TOUCHED, False),
    ("", ("-O", "verify-required"), TOUCHED, False),
    ("", ("-O", "verify-required"), TOUCHED | VERIFIED, True),
]


@pytest.mark.parametrize("case", range(len(PRESENCE)))
def test_what_a_security_key_vouches_for(
    place: tuple[Site, Server], vouching: Any, case: int
) -> None:
    site, server = place
    options, certificate, flags, welcome = PRESENCE[case]
    name = f"sk-{case}"
    if certificate is None:
        key = SecurityKey(site, name, options)
        assert allowed(site, server, vouching(key, flags)) is welcome
        return
    key = SecurityKey(site, name, None)
    site.key(f"{name}-ca", f"cert-authority,{options}".rstrip(","))
    pair = vouching(key, flags), sign(site, f"{name}-ca", name, *certificate)
    assert allowed(site, server, pair) is welcome
    if not welcome and server.process.name == "relay-server":
        server.process.wait_for("the security key (was not touched|did not verify)")
