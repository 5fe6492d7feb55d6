"""Which keys are tried, and in which order."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import asyncssh
import pytest

from relay.errors import FileError
from relay.sshconfig.client import ClientConfig
from relay.trust.identities import Identities, key_data, load_identities
from tests.told import logged

EVENTS = logged()
CA = asyncssh.generate_private_key("ssh-ed25519")
CONFIG = ClientConfig(host="b", user="u", identity_agent="")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def make(path: Path, *, passphrase: str | None = None, public: bool = True) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=path.name)
    path.touch(mode=0o600)
    key.write_private_key(path)
    if passphrase is not None:
        lock(path, passphrase)
    if public:
        key.write_public_key(f"{path}.pub")
    return key


def lock(path: Path, passphrase: str) -> None:
    """As a user does it."""
    program = find("ssh-keygen")
    subprocess.run([program, "-q", "-p", "-N", passphrase, "-f", path], check=True)


def find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"no {program}") if os.environ.get("CI") else pytest.skip(f"no {program}")
    return found


def certify(path: Path, key: asyncssh.SSHKey) -> None:
    CA.generate_user_certificate(key, "id").write_certificate(path)


def load(config: ClientConfig) -> list[tuple[bytes, bool]]:
    """The public keys to try, and whether each goes with a certificate."""

    async def main() -> Identities:
        identities = await load_identities(config, EVENTS)
        identities.close()
        return identities

    return [(key_data(pair), pair.has_cert) for pair in anyio.run(main).pairs]


def test_the_usual_files_where_none_is_named(home: Path) -> None:
    ed25519 = make(home / ".ssh" / "id_ed25519")
    make(home / ".ssh" / "id_other")
    make(home / ".ssh" / "id_ecdsa", passphrase="secret")
    (home / ".ssh" / "id_rsa").write_text("no key")
    assert load(CONFIG) == [(ed25519.public_data, False)]


def test_the_files_in_their_order(home: Path) -> None:
    keys = [make(home / name) for name in "ba"]
    config = replace(CONFIG, identity_files=(home / "b", home / "a"))
    assert load(config) == [(key.public_data, False) for key in keys]


def test_a_certificate_beside_its_key_or_elsewhere(home: Path) -> None:
    key = make(home / "key")
    config = replace(CONFIG, identity_files=(home / "key",))
    certify(home / "key-cert.pub", key)
    assert load(config) == [(key.public_data, True), (key.public_data, False)]
    (home / "key-cert.pub").rename(home / "elsewhere")
    assert load(config) == [(key.public_data, False)]
    certify(home / "another", make(home / "other"))
    files = (home / "missing", home / "another", home / "elsewhere")
    config = replace(config, certificate_files=files)
    assert load(config) == [(key.public_data, True), (key.public_data, False)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        ("no key", "Invalid private key"),
        ("passphrase", "add it to ssh-agent"),
    ],
)
def test_a_file_of_a_flag_must_be_good_and_one_of_a_file_may_be_bad(
    home: Path, content: str | None, problem: str
) -> None:
    path = home / "key"
    if content == "passphrase":
        make(path, passphrase="secret")
    elif content is not None:
        path.write_text(content)
    config = replace(CONFIG, identity_files=(path,))
    with pytest.raises(FileError, match=rf"{path}: .*{problem}"):
        load(config)
    assert load(replace(config, optional_identity_files=frozenset({path}))) == []


def test_a_public_key_is_no_private_one(home: Path) -> None:
    make(home / "key")
    with pytest.raises(FileError, match="give the private one"):
        load(replace(CONFIG, identity_files=(home / "key.pub",)))


@pytest.fixture
def agent(home: Path) -> Iterator[Path]:
    path = home / "agent.socket"
    daemon = subprocess.Popen([find("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert daemon.poll() is None
            os.sched_yield()
        yield path
    finally:
        daemon.terminate()
        daemon.wait()


def add(agent: Path, *keys: Path) -> None:
    environment = os.environ | {"SSH_AUTH_SOCK": str(agent)}
    subprocess.run(["ssh-add", "-q", *keys], env=environment, check=True)


def test_the_agents_keys(home: Path, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, other = make(home / "held"), make(home / "other")
    add(agent, home / "other", home / "held")
    by_name = replace(CONFIG, identity_agent=str(agent), identity_files=(home / "held",))
    both = [(held.public_data, False), (other.public_data, False)]
    assert load(by_name) == both
    (home / "held").unlink()
    assert load(by_name) == both
    (home / "held").write_bytes((home / "held.pub").read_bytes())
    (home / "held.pub").unlink()
    assert load(by_name) == both
    assert load(replace(by_name, identities_only=True)) == both[:1]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    assert load(replace(by_name, identity_agent=None)) == both
    with pytest.raises(FileError):
        load(replace(by_name, identity_agent=""))
    with pytest.raises(FileError):
        load(replace(by_name, identity_agent="/missing"))
    missing = replace(by_name, identity_files=(home / "missing",))
    with pytest.raises(FileError, match="missing: No such file"):
        load(missing)


def test_the_agent_signs_for_a_key_that_has_a_passphrase_and_for_certificates(
    home: Path, agent: Path
) -> None:
    key = make(home / "key", public=False)
    add(agent, home / "key")
    lock(home / "key", "secret")
    certify(home / "certificate", key)
    config = replace(
        CONFIG,
        identity_agent=str(agent),
        identity_files=(home / "key",),
        certificate_files=(home / "certificate",),
        identities_only=True,
    )
    assert load(config) == [(key.public_data, True), (key.public_data, False)]


def test_a_certificate_that_the_agent_holds(home: Path, agent: Path) -> None:
    key = make(home / "key")
    certify(home / "key-cert.pub", key)
    add(agent, home / "key")
    config = replace(CONFIG, identity_agent=str(agent), identity_files=(home / "key",))
    config = replace(config, identities_only=True)
    assert sorted(load(config)) == [(key.public_data, False), (key.public_data, True)]


def test_who_may_have_to_wait_for_a_person(home: Path, agent: Path) -> None:
    """A key of a file signs at once; an agent may ask, and a security key wants to be touched."""
    make(home / "key")

    async def need_a_person(config: ClientConfig) -> bool:
        identities = await load_identities(config, EVENTS)
        identities.close()
        return identities.need_a_person

    config = replace(CONFIG, identity_files=(home / "key",))
    assert not anyio.run(need_a_person, config)
    assert anyio.run(need_a_person, replace(config, identity_agent=str(agent)))
    [pair] = asyncssh.load_keypairs(str(home / "key"))
    pair.algorithm = b"sk-ssh-ed25519@openssh.com"
    assert Identities([pair], None).need_a_person


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    path = home / "key"
    make(path)
    path.chmod(mode)
    with pytest.raises(FileError, match=rf"permissions {mode:04o} are too open.*chmod 600 {path}"):
        load(replace(CONFIG, identity_files=(path,)))
    path.chmod(0o400)
    assert len(load(replace(CONFIG, identity_files=(path,)))) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_default_key_that_others_can_read_is_passed_over_aloud(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = make(home / ".ssh" / "id_ecdsa")
    make(home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "id_ed25519").chmod(0o644)
    assert load(CONFIG) == [(good.public_data, False)]
    assert "permissions 0644 are too open" in caplog.text


def test_a_public_key_may_be_open(home: Path) -> None:
    make(home / "key")
    with pytest.raises(FileError) as caught:
        load(replace(CONFIG, identity_files=(home / "key.pub",)))
    assert "too open" not in str(caught.value)
