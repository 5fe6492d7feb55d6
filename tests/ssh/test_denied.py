"""The five causes of "Permission denied", told apart by what this side knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from relay.ssh.denied import SHOWN_KEYS, denied
from relay.sshconfig.client import ClientConfig
from relay.trust.authorized_keys import fingerprint
from relay.trust.identities import Identities
from relay.wire.numbers import RELAY_VERSION

KEY = asyncssh.generate_private_key("ssh-ed25519")
SHOWN = f"offered: id_ed25519 {fingerprint(KEY.public_data)}"
ONE = Identities(asyncssh.load_keypairs(KEY), None, {KEY.public_data: "id_ed25519"})
B = ClientConfig(host="b", port=2222, user="me")
BEFORE = "me@b:2222: Permission denied (publickey): "


def said(
    config: ClientConfig = B,
    identities: Identities = ONE,
    version: str = RELAY_VERSION,
    asked: ClientConfig = B,
    *,
    cut_short: bool = False,
) -> str:
    text = str(denied(config, identities, version, asked, cut_short=cut_short))
    assert text.startswith(BEFORE)
    assert len(text.splitlines()) == 1
    return text.removeprefix(BEFORE)


def test_a_key_that_is_unknown_is_named_and_where_to_look() -> None:
    text = said()
    assert text.startswith("the server does not take the key; is its line in authorized_keys there")
    assert SHOWN in text
    assert "the server's log says why: look for that fingerprint" in text


def test_there_is_no_key() -> None:
    config = replace(B, identity_files=(Path("/a/key"), Path("/b/key")))
    text = said(config, Identities([], None))
    assert text.startswith("there is no key to log in with: no usable one in /a/key, /b/key, and ")
    assert "there is no ssh-agent: give one with -i" in text


def test_an_agent_has_too_many() -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(20)]
    text = said(identities=Identities(asyncssh.load_keypairs(keys), None), cut_short=True)
    assert text.startswith("the server has ended the connection after too many keys, of 20 that")
    assert "-i FILE -o IdentitiesOnly=yes" in text
    assert text.count("SHA256:") == SHOWN_KEYS
    assert f"and {20 - SHOWN_KEYS} more" in text


@pytest.mark.parametrize("version", ["SSH-2.0-OpenSSH_9.2p1", "SSH-2.0-dropbear"])
def test_on_this_port_is_an_sshd(version: str) -> None:
    text = said(version=version)
    assert text.startswith(f"{version[8:]} answers on port 2222, which is no relay-server: is -p")
    assert "~me/.ssh/authorized_keys there" in text
    assert SHOWN in text


def test_i_is_not_for_the_jump_host() -> None:
    gpu1 = ClientConfig(host="gpu1", user="me", identity_files=(Path("client_key"),))
    text = said(asked=gpu1)
    assert text.startswith("-i is for gpu1 alone, and not for the jump host b: name its key")
    assert SHOWN in text
    # Named for both, or by a file, it is not what is wrong.
    named = replace(B, identity_files=gpu1.identity_files)
    assert said(named, asked=gpu1).startswith("the server does not take")
    optional = replace(gpu1, optional_identity_files=frozenset(gpu1.identity_files))
    assert said(asked=optional).startswith("the server does not take")
