"""What a person is asked at a terminal: is this the host's key, and the passphrase of one's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.programs.chain import Server, Site, find, relay_server
from tests.programs.terminal import Terminal, at_a_terminal

QUESTION = r"The host key of .* is not known yet.\s+It shows \S+ (SHA256:\S+)\s+Trust it .*\? "
PASSPHRASE = "Enter passphrase for key '.*locked': "


def arguments(site: Site, b: Server, key: str, known: Path, *more: str) -> list[str | Path]:
    return [
        *site.leg(b, key, known), *more, "-L", "127.0.0.1:0:gpu1:8000", f"{site.user}@127.0.0.1",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", ["yes", "the fingerprint"])
def test_a_host_key_is_asked_about_and_remembered(site: Site, answer: str) -> None:
    b = relay_server(site)
    known = site.folder / "new_hosts"
    words = arguments(site, b, "client", known)
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        shown = terminal.wait_for(QUESTION)[1]
        b.process.wait_for(f"host key {re.escape(shown)}")
        terminal.type("perhaps\n")
        terminal.wait_for(r"Trust it .*\? ")
        terminal.type(f"{'yes' if answer == 'yes' else shown}\n")
        terminal.wait_for("host key of .* added to .*new_hosts")
        terminal.wait_for("ready")
    assert len(known.read_text().splitlines()) == 1
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        terminal.wait_for("ready")
        assert "Trust it" not in terminal.screen


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("no\n", 1, "was not accepted"), ("\x03", 0, ""), ("\x04", 1, "was not accepted")],
)
def test_who_does_not_trust_it_sends_nothing(site: Site, typed: str, code: int, said: str) -> None:
    b = relay_server(site)
    known = site.folder / "new_hosts"
    words = arguments(site, b, "client", known)
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(typed)
        assert terminal.end() == code
        assert said in terminal.screen
        assert "Traceback" not in terminal.screen
    assert not known.exists()


def lock(site: Site) -> None:
    key = site.key("locked")
    command = [find("ssh-keygen"), "-q", "-p", "-N", "a secret", "-f", key]
    subprocess.run(command, check=True)


def asked(terminal: Terminal, answer: str) -> None:
    terminal.wait_for(PASSPHRASE)
    assert not terminal.echoes
    terminal.type(answer)


def test_a_passphrase_is_asked_for_once(site: Site) -> None:
    b = relay_server(site)
    lock(site)
    words = arguments(site, b, "locked", site.known_hosts)
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        asked(terminal, "a guess\n")
        asked(terminal, "a secret\n")
        terminal.wait_for("ready")
        assert terminal.echoes
        # Whoever comes back is not asked again.
        number = b.process.wait_for(r"\(locked\)")
        assert number
        fingerprint = re.search(r"SHA256:\S+", number.string)
        assert fingerprint is not None
        kick = ["-O", "kick", fingerprint[0], "--state-dir", site.folder / "state"]
        assert site.ours("relay-server", *kick).end() == 0
        terminal.wait_for("connected to .* again")
        assert "passphrase" not in terminal.screen


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["a guess\n"] * 3, 1, "locked: that is not its passphrase"),
        (["\x03"], 0, ""),
        (["\x04"], 1, "the key has a passphrase: add it to ssh-agent"),
    ],
)
def test_who_does_not_know_it_ends(site: Site, typed: list[str], code: int, said: str) -> None:
    b = relay_server(site)
    lock(site)
    words = arguments(site, b, "locked", site.known_hosts)
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        for one in typed:
            asked(terminal, one)
        assert terminal.end() == code
        assert said in terminal.screen
        assert "Traceback" not in terminal.screen


def test_in_batch_mode_nobody_is_asked(site: Site) -> None:
    b = relay_server(site)
    lock(site)
    words = arguments(site, b, "locked", site.known_hosts, "-o", "BatchMode=yes")
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        terminal.wait_for("locked: the key has a passphrase: add it to ssh-agent")
        assert terminal.end() == 1


def test_of_the_usual_keys_only_one_that_is_all_there_is_is_asked_about(site: Site) -> None:
    b = relay_server(site)
    lock(site)
    usual = site.folder / ".ssh"
    usual.mkdir(mode=0o700)
    (site.folder / "locked").rename(usual / "id_ed25519")
    words = [
        "-p", str(b.port), "-o", f"UserKnownHostsFile={site.known_hosts}",
        "-L", "127.0.0.1:0:gpu1:8000", f"{site.user}@127.0.0.1",
    ]  # fmt: skip
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        terminal.wait_for("Enter passphrase for key '.*id_ed25519': ")
        terminal.type("a secret\n")
        terminal.wait_for("ready")
    site.key("open").rename(usual / "id_ecdsa")
    with at_a_terminal(site.folder, "relay.cli.connect", *words) as terminal:
        terminal.wait_for("ready")
        assert "passphrase" not in terminal.screen
