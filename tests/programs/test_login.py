"""Who may log in: keys in every form that authorized_keys knows, and nothing but keys."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
import pytest

from tests.programs.chain import Server, Site, find, free_port, relay_agent, run, ssh
from tests.programs.stock import USER, login, may_login, may_publish, slug


@pytest.fixture
def site(shared_site: Site) -> Site:
    return shared_site


def allowed(site: Site, server: Server, key: str, **options: Any) -> bool:
    return asyncio.run(may_login(site, server, key, **options))


def test_public_keys_are_the_only_way_in(server: Server) -> None:
    methods = asyncio.run(
        asyncssh.get_server_auth_methods("127.0.0.1", server.port, username=USER, config=None)
    )
    assert methods == ["publickey"]


def test_passwords_are_refused(site: Site, server: Server) -> None:
    options = {"client_keys": None, "password": "secret", "preferred_auth": "password"}
    assert not allowed(site, server, "", **options)
    server.process.wait_for("did not log in")


def test_ssh_is_told_that_only_keys_count(site: Site, server: Server) -> None:
    site.key("stranger", None)
    client = ssh(site, server, "stranger", "-o", "PreferredAuthentications=password,publickey")
    client.wait_for(r"Permission denied \(publickey\)")
    assert client.end() == 255
    server.process.wait_for("key SHA256:.* refused: unknown key")


def test_a_connection_has_few_tries(site: Site, server: Server) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(10)]
    assert not allowed(site, server, "", client_keys=keys)
    server.process.wait_for("did not log in: Too many authentication failures")


@pytest.mark.parametrize(
    ("options", "welcome"),
    [
        ('expiry-time="20200101"', False),
        ('expiry-time="29991231Z"', True),
        ('from="127.0.0.0/8"', True),
        ('from="10.0.0.0/8"', False),
        ('from="!127.0.0.1,*"', False),
        ("restrict", True),
        ('no-pty,no-X11-forwarding,command="true"', True),
    ],
)
def test_options_of_a_key(site: Site, server: Server, options: str, welcome: bool) -> None:
    key = slug(options)
    site.key(key, options)
    assert allowed(site, server, key) is welcome
    if not welcome:
        fingerprint = asyncssh.read_public_key(site.public(key)).get_fingerprint()
        server.process.wait_for(rf"key {fingerprint.replace('+', '.')} refused: line \d+: ")


def test_an_unknown_option_closes_its_key_and_no_other(site: Site, server: Server) -> None:
    site.key("before")
    site.key("mistyped", 'permit-listen="gpu1:8000"')
    site.authorize("ssh-ed25519 AAAAgarbage broken\n")
    site.key("after")
    assert not allowed(site, server, "mistyped")
    line = site.authorized_keys.read_text().split("\n").index(
        next(line for line in site.authorized_keys.read_text().split("\n") if "mistyped" in line)
    ) + 1  # fmt: skip
    server.process.wait_for(rf'authorized_keys:{line}: unknown option "permit-listen"')
    server.process.wait_for(rf"authorized_keys:{line + 1}: ")
    assert allowed(site, server, "before")
    assert allowed(site, server, "after")


def test_a_change_of_the_file_counts_at_the_next_login(site: Site, server: Server) -> None:
    site.key("changing")
    assert allowed(site, server, "changing")
    before = site.authorized_keys.read_text()
    try:
        site.authorized_keys.write_text(
            "".join(line for line in before.splitlines(True) if "changing" not in line)
        )
        assert not allowed(site, server, "changing")
        site.authorized_keys.unlink()
        assert not allowed(site, server, "changing")
        server.process.wait_for("authorized_keys: No such file or directory")
    finally:
        site.authorized_keys.write_text(before)
    assert allowed(site, server, "changing")


def test_rsa_keys_sign_with_sha2_only(site: Site, server: Server) -> None:
    path = site.key("rsa", algorithm="ssh-rsa")
    assert allowed(site, server, "rsa")
    assert not allowed(
        site, server, "", client_keys=[Sha1KeyPair(path)], signature_algs=["ssh-rsa"]
    )
    server.process.wait_for("a signature with ssh-rsa is not accepted")


class Sha1KeyPair(asyncssh.public_key.SSHLocalKeyPair):
    """An RSA key whose owner insists on SHA-1."""

    def __init__(self, path: Any) -> None:
        super().__init__(asyncssh.read_private_key(path), None, None, None)
        self.sig_algorithms = (b"ssh-rsa",)
        self.set_sig_algorithm(b"ssh-rsa")


# -- certificates


def sign(site: Site, key: str, ca: str, *options: str) -> None:
    """Make KEY-cert.pub, which our programs and ssh find beside the key."""
    site.key(key, None)
    run(find("ssh-keygen"), "-q", "-s", site.folder / ca, "-I", "an id", *options, site.public(key))


@pytest.mark.parametrize(
    ("authority", "certificate", "welcome"),
    [
        ("cert-authority", ("-n", USER), True),
        ("cert-authority", ("-n", "another"), False),
        ('cert-authority,principals="gpus"', ("-n", "gpus,others"), True),
        ('cert-authority,principals="gpus"', ("-n", USER), False),
        ("cert-authority", ("-n", USER, "-V", "20200101:20200201"), False),
        ("cert-authority", ("-n", USER, "-O", "source-address=127.0.0.0/8"), True),
        ("cert-authority", ("-n", USER, "-O", "source-address=10.0.0.0/8"), False),
        ('cert-authority,from="10.0.0.0/8"', ("-n", USER), False),
        ("", ("-n", USER), False),
        ("cert-authority", ("-n", USER, "-h"), False),
    ],
)
def test_certificates(
    site: Site,
    server: Server,
    request: pytest.FixtureRequest,
    authority: str,
    certificate: tuple[str, ...],
    welcome: bool,
) -> None:
    name = f"case{request.node.callspec.indices['authority']}"
    site.key(f"ca-{name}", authority)
    sign(site, name, f"ca-{name}", *certificate)
    assert allowed(site, server, name) is welcome
    if "cert-authority" in authority:
        assert not allowed(site, server, f"ca-{name}"), "the authority is no user"


def test_a_certificate_without_forwarding_opens_and_publishes_nothing(
    site: Site, server: Server
) -> None:
    site.key("ca-without", "cert-authority")
    sign(site, "without", "ca-without", "-n", USER, "-O", "no-port-forwarding")

    async def publishes() -> bool:
        async with login(site, server, "without") as leg:
            return await may_publish(leg, "certified", 1)

    assert not asyncio.run(publishes())


def test_our_programs_and_ssh_come_with_certificates(site: Site, server: Server) -> None:
    site.key("ca-programs", "cert-authority")
    sign(site, "program", "ca-programs", "-n", site.user)
    relay_agent(site, server, "by-certificate:1", 1, key="program")
    client = ssh(site, server, "program", "-v", "-L", f"{free_port()}:by-certificate:1")
    client.wait_for("Authenticated to")
