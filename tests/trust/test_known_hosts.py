"""known_hosts as ssh's users know it: what is trusted, what is refused, what is written."""

from __future__ import annotations

import base64
import hmac
import logging
import os
import pty
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest

from relay.errors import HostKeyRefused
from relay.sshconfig.client import ClientConfig, StrictHostKeyChecking
from relay.trust.hostkeys import fingerprint
from relay.trust.known_hosts import HostKeyVerifier, KnownHosts, host_name, line_for
from tests.told import logged

KEY = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
OTHER = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
ECDSA = asyncssh.generate_private_key("ecdsa-sha2-nistp256").convert_to_public()
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048).convert_to_public()
EVENTS = logged()


def text(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {base64.b64encode(key.public_data).decode()}"


def hashed(name: str) -> str:
    salt = bytes(range(20))
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ssh" / "known_hosts"


def write(file: Path, *lines: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def verifier(
    file: Path,
    checking: StrictHostKeyChecking = "yes",
    host: str = "b",
    port: int = 22,
    *,
    alias: str = "",
    hash_names: bool = False,
    algorithms: str = "",
) -> HostKeyVerifier:
    config = ClientConfig(
        host=host,
        user="u",
        port=port,
        user_known_hosts_files=(file,),
        global_known_hosts_files=(),
        strict_host_key_checking=checking,
        host_key_alias=alias,
        hash_known_hosts=hash_names,
        host_key_algorithms=algorithms,
    )
    return HostKeyVerifier(config, KnownHosts.load(config, EVENTS), EVENTS)


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("b", "b", 22),
        ("b", "B", 22),
        ("B.example", "b.EXAMPLE", 22),
        ("a,b,c", "b", 22),
        ("*.example", "b.example", 22),
        ("?", "b", 22),
        ("[b]:2222", "b", 2222),
        ("[*.example]:2222", "b.example", 2222),
        ("b", "b", 2222),
        ("192.0.2.1", "192.0.2.1", 22),
        ("::1", "::1", 22),
        ("2001:DB8::1", "2001:db8::1", 22),
        ("[::1]:2222", "::1", 2222),
        ("[fe80::1%eth0]:2222", "fe80::1%eth0", 2222),
        (hashed("b"), "b", 22),
        (hashed("[b]:2222"), "B", 2222),
        ("*,!a", "b", 22),
    ],
)
def test_a_known_key_is_the_server(file: Path, pattern: str, host: str, port: int) -> None:
    write(file, "# comment", "", f"{pattern} {text(KEY)} comment of the key")
    verifier(file).verify(host, "", port, KEY)


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("c", "b", 22),
        ("[b]:2222", "b", 22),
        ("[b]:2222", "b", 2223),
        ("*,!b", "b", 22),
        ("!b", "b", 22),
        ("[ab]", "b", 22),  # no set of characters
        (hashed("c"), "b", 22),
        ("192.0.2.1", "b", 22),  # the address that the name led to is not asked for
    ],
)
def test_another_line_does_not_vouch(file: Path, pattern: str, host: str, port: int) -> None:
    write(file, f"{pattern} {text(KEY)}")
    with pytest.raises(HostKeyRefused, match="not known"):
        verifier(file).verify(host, "192.0.2.1", port, KEY)


def test_an_unknown_key_is_refused_with_what_to_do(file: Path) -> None:
    with pytest.raises(HostKeyRefused) as caught:
        verifier(file).verify("b", "", 2222, KEY)
    words = str(caught.value)
    assert fingerprint(KEY) in words
    assert "[b]:2222" in words
    assert "-o StrictHostKeyChecking=accept-new" in words
    assert words.endswith(f"{file}: [b]:2222 {text(KEY)}")
    assert "\n" not in words
    assert not file.exists()


@pytest.mark.parametrize("checking", ["yes", "no", "accept-new", "ask"])
@pytest.mark.parametrize("shown", [OTHER, ECDSA], ids=["same type", "other type"])
def test_a_changed_key_is_refused_always(
    file: Path,
    checking: StrictHostKeyChecking,
    shown: asyncssh.SSHKey,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(file, f"b {text(RSA)}", f"b {text(KEY)}")
    before = file.read_bytes()
    with pytest.raises(HostKeyRefused, match="has changed") as caught:
        verifier(file, checking).verify("b", "", 22, shown)
    assert fingerprint(shown) in str(caught.value)
    assert f"{file}:{2 if shown is OTHER else 1}" in str(caught.value)
    assert file.read_bytes() == before
    assert "THE HOST KEY OF b HAS CHANGED" in caplog.text


def test_a_second_known_key_is_no_change(file: Path) -> None:
    write(file, f"b {text(RSA)}", f"b {text(KEY)}")
    verifier(file).verify("b", "", 22, RSA)
    verifier(file).verify("b", "", 22, KEY)


def test_another_port_may_be_another_server(file: Path) -> None:
    write(file, f"b {text(KEY)}")
    with pytest.raises(HostKeyRefused, match="not known"):
        verifier(file).verify("b", "", 2222, OTHER)
    verifier(file, "accept-new").verify("b", "", 2222, OTHER)
    verifier(file).verify("b", "", 2222, OTHER)
    verifier(file).verify("b", "", 22, KEY)


@pytest.mark.parametrize("checking", ["yes", "no", "accept-new"])
@pytest.mark.parametrize("pattern", ["b", "*", "192.0.2.1"])
def test_a_revoked_key_is_refused(
    file: Path, checking: StrictHostKeyChecking, pattern: str
) -> None:
    write(file, f"b {text(KEY)}", f"@revoked {pattern} {text(KEY)}")
    with pytest.raises(HostKeyRefused, match=rf"revoked.*{file}:2"):
        verifier(file, checking).verify("b", "192.0.2.1", 22, KEY)


def test_a_certificate_authority(file: Path) -> None:
    write(file, f"@cert-authority *.example {text(KEY)}", f"@cert-authority * {text(OTHER)}")
    verifier(file).verify_ca("b.example", "", 2222, KEY)
    verifier(file).verify_ca("b", "", 22, OTHER)
    with pytest.raises(HostKeyRefused, match="no @cert-authority"):
        verifier(file).verify_ca("b", "", 22, KEY)
    with pytest.raises(HostKeyRefused, match="not known"):  # an authority's key is no host key
        verifier(file).verify("b.example", "", 22, KEY)


def test_a_revoked_authority(file: Path) -> None:
    write(file, f"@cert-authority * {text(KEY)}", f"@revoked * {text(KEY)}")
    with pytest.raises(HostKeyRefused, match="revoked"):
        verifier(file).verify_ca("b", "", 22, KEY)


def test_asyncssh_gets_what_is_revoked_and_trusts_nothing(file: Path) -> None:
    write(file, f"b {text(RSA)}", f"@revoked b {text(KEY)}")
    keys, authorities, revoked = verifier(file).revocations("b", "", None)
    assert keys == authorities == []
    assert [key.public_data for key in revoked] == [KEY.public_data]


@pytest.mark.parametrize(
    "bad",
    [
        "b",
        "b ssh-ed25519",
        "@revoked",
        "@unknown b ssh-ed25519 AAAA",
        "|1|bad ssh-ed25519 AAAA",
        "|2|AAAA|AAAA ssh-ed25519 AAAA",
        "b ssh-ed25519 AAAAtruncated",
        "b ssh-future AAAAC3NzaC1mdXR1cmU=",
        "b 1024 35 123456789",
    ],
)
def test_a_bad_line_costs_nothing_but_itself(
    file: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, f"a {text(OTHER)}", bad, f"b {text(KEY)}")
    with caplog.at_level(logging.WARNING):
        verifier(file).verify("b", "", 22, KEY)
    assert f"{file}:2: passed over" in caplog.text


def test_bytes_that_are_no_text_do_no_harm(file: Path) -> None:
    write(file)
    file.write_bytes(b"\xfd\xfe caf\xe9 \x00\n" + f"b {text(KEY)}\r\n".encode())
    verifier(file).verify("b", "", 22, KEY)


def test_a_file_that_cannot_be_read_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HostKeyRefused):
        verifier(tmp_path).verify("b", "", 22, KEY)
    assert "not read" in caplog.text


@pytest.mark.parametrize("checking", ["accept-new", "no"])
def test_a_new_key_is_added(
    file: Path, checking: StrictHostKeyChecking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = verifier(file, checking)
    one.verify("B", "192.0.2.1", 2222, KEY)
    one.verify("B", "192.0.2.1", 2222, KEY)
    assert file.read_text() == f"[b]:2222 {text(KEY)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert caplog.text.count("added to") == 1
    verifier(file).verify("b", "", 2222, KEY)
    with pytest.raises(HostKeyRefused, match=f"changed.*{file}:1"):
        one.verify("b", "", 2222, OTHER)


@pytest.mark.parametrize("before", ["", "# comment\n", "# comment"], ids=repr)
def test_the_new_line_is_a_line_of_its_own(file: Path, before: str) -> None:
    write(file)
    file.write_text(before)
    one = verifier(file, "accept-new")
    one.verify("b", "", 22, KEY)
    expected = before + ("\n" if before and not before.endswith("\n") else "")
    assert file.read_text() == f"{expected}b {text(KEY)}\n"
    with pytest.raises(HostKeyRefused, match=f"{file}:{2 if before else 1}"):
        one.verify("b", "", 22, OTHER)


def test_two_programs_that_learn_the_same_key_write_one_line(file: Path) -> None:
    first, second = verifier(file, "accept-new"), verifier(file, "accept-new")
    first.verify("b", "", 22, KEY)
    second.verify("b", "", 22, KEY)
    assert file.read_text() == f"b {text(KEY)}\n"


def test_a_file_that_cannot_be_written_does_not_keep_us_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    verifier(tmp_path / "file" / "known_hosts", "accept-new").verify("b", "", 22, KEY)
    assert "cannot add" in caplog.text
    verifier(Path("/dev/null"), "accept-new").verify("b", "", 22, KEY)


def test_known_types_are_offered_first_and_the_others_too(file: Path) -> None:
    unknown = verifier(file).preferred_algorithms()
    assert unknown[0] == "ssh-ed25519"
    assert "ssh-rsa" not in unknown
    write(file, f"b {text(RSA)}", f"c {text(ECDSA)}")
    known = verifier(file).preferred_algorithms()
    assert known[:2] == ["rsa-sha2-512", "rsa-sha2-256"]
    assert sorted(known) == sorted(unknown)
    write(file, f"@cert-authority * {text(KEY)}")
    with_authority = verifier(file).preferred_algorithms()
    assert with_authority[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert with_authority[-len(unknown) :] == unknown


def test_host_key_algorithms_change_the_list_or_take_its_place(file: Path) -> None:
    write(file, f"b {text(RSA)}")
    assert verifier(file, algorithms="ssh-ed25519,rsa-sha2-256").preferred_algorithms() == [
        "ssh-ed25519",
        "rsa-sha2-256",
    ]
    # The known key stays first, as with the default.
    without = verifier(file, algorithms="-ecdsa-*").preferred_algorithms()
    assert without == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
    more = verifier(file, algorithms="+ssh-rsa,ssh-ed25519-cert*").preferred_algorithms()
    assert more[0] == "rsa-sha2-512"
    assert more[-1] == "ssh-ed25519-cert-v01@openssh.com"
    assert "ssh-rsa" not in more
    first = verifier(file, algorithms="^ssh-ed25519").preferred_algorithms()
    assert first[:2] == ["ssh-ed25519", "rsa-sha2-512"]


def test_an_alias_stands_for_the_name_and_leaves_out_the_port(file: Path) -> None:
    one = verifier(file, "accept-new", port=2222, alias="alias")
    one.verify("alias", "192.0.2.1", 2222, KEY)
    assert file.read_text() == f"alias {text(KEY)}\n"
    assert one.preferred_algorithms()[0] == "ssh-ed25519"
    verifier(file, host="other", alias="alias").verify("alias", "", 7, KEY)
    with pytest.raises(HostKeyRefused, match="key of alias has changed"):
        one.verify("alias", "", 2222, OTHER)
    write(file, f"@cert-authority alias {text(KEY)}", f"@revoked alias {text(OTHER)}")
    one = verifier(file, alias="alias")
    one.verify_ca("alias", "", 2222, KEY)
    assert [key.public_data for key in one.revocations("alias", "", 2222)[2]] == [OTHER.public_data]


def test_names_are_hashed_on_request(file: Path) -> None:
    one = verifier(file, "accept-new", port=2222, hash_names=True)
    one.verify("b", "", 2222, KEY)
    line = file.read_text()
    assert line.startswith("|1|")
    assert line.endswith(f" {text(KEY)}\n")
    verifier(file).verify("b", "", 2222, KEY)
    with pytest.raises(HostKeyRefused, match="changed"):
        verifier(file).verify("b", "", 2222, OTHER)
    # Two that learn the key at once write one line, whatever the salt.
    for hash_names in (True, False):
        late = verifier(Path("/nonexistent"), "accept-new", port=2222, hash_names=hash_names)
        late._known_hosts._first_file = file
        late.verify("b", "", 2222, KEY)
    assert file.read_text() == line
    verifier(file, "accept-new", hash_names=True).verify("c", "", 22, KEY)
    assert len({one.split("|")[2] for one in file.read_text().splitlines()}) == 2


ASK = """
import os, sys
from pathlib import Path
import asyncssh
from relay.errors import HostKeyRefused
from tests.trust.test_known_hosts import verifier
try:
    verifier(Path(sys.argv[1]), "ask").verify("b", "", 22, asyncssh.import_public_key(sys.argv[2]))
except HostKeyRefused as error:
    raise SystemExit(f"refused: {error}")
print("accepted")
"""


def ask(file: Path, answer: str) -> str:
    """Run `ask` in a process of its own whose terminal we are; the dialogue and the outcome."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", ASK, str(file), text(KEY)])
    dialogue = b""
    try:
        while b"compare)?" not in dialogue:
            dialogue += os.read(terminal, 1024)
        os.write(terminal, answer.encode())
        while more := os.read(terminal, 1024):
            dialogue += more
    except OSError:  # EIO: the other end of the terminal is gone
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return dialogue.decode()


@pytest.mark.parametrize(
    "answer",
    ["yes\n", "what?\nYES\n", pytest.param(f"{fingerprint(KEY)}\n", id="the fingerprint")],
)
def test_ask_accepts_a_yes_and_the_fingerprint(file: Path, answer: str) -> None:
    dialogue = ask(file, answer)
    assert fingerprint(KEY) in dialogue
    assert "accepted" in dialogue
    assert file.read_text() == f"b {text(KEY)}\n"


@pytest.mark.parametrize(
    "answer",
    ["no\n", pytest.param(f"{fingerprint(OTHER)}\nno\n", id="another's fingerprint"), "\n"],
)
def test_ask_takes_nothing_else_for_a_yes(file: Path, answer: str) -> None:
    assert "refused" in ask(file, answer)
    assert not file.exists()


def test_ask_without_a_terminal_is_yes(file: Path) -> None:
    command = [sys.executable, "-c", ASK, str(file), text(KEY)]
    done = subprocess.run(
        command, start_new_session=True, capture_output=True, text=True, check=False
    )
    assert "not known" in done.stderr


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
@pytest.mark.parametrize(("host", "port"), [("B.example", 22), ("b", 2222), ("::1", 2222)])
def test_ssh_keygen_finds_what_we_write(file: Path, host: str, port: int) -> None:
    verifier(file, "accept-new").verify(host, "", port, KEY)
    command = ["ssh-keygen", "-F", host_name(host, port), "-f", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert line_for(host, port, KEY) in found


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_we_find_what_ssh_keygen_hashed(file: Path) -> None:
    verifier(file, "accept-new").verify("b", "", 2222, KEY)
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], capture_output=True, check=True)
    assert "b" not in file.read_text().partition(" ")[0].split("|")
    verifier(file).verify("b", "", 2222, KEY)
