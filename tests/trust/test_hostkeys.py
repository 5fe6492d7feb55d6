"""The private half of a host key is private from its first moment on."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest

from relay.errors import FileError
from relay.trust.hostkeys import fingerprint, load_host_key, load_or_create_host_key


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "ssh_host_ed25519_key"
    key, created = load_or_create_host_key(path)
    public = path.with_name("ssh_host_ed25519_key.pub")
    assert created
    assert key.get_algorithm() == "ssh-ed25519"
    assert (mode(path), mode(public)) == (0o600, 0o644)
    assert (mode(path.parent), mode(path.parent.parent)) == (0o700, 0o700)
    assert asyncssh.read_public_key(public).public_data == key.public_data
    assert sorted(os.listdir(path.parent)) == [path.name, public.name]


def test_the_second_start_finds_it(tmp_path: Path) -> None:
    first, _ = load_or_create_host_key(tmp_path / "key")
    second, created = load_or_create_host_key(tmp_path / "key")
    assert not created
    assert second.public_data == first.public_data


def test_the_umask_has_no_say(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        load_or_create_host_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "key"), mode(tmp_path / "key.pub")) == (0o600, 0o644)


def test_servers_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(load_or_create_host_key, [tmp_path / "key"] * 8))
    assert len({key.public_data for key, _ in made}) == 1
    assert sum(created for _, created in made) == 1
    public = asyncssh.read_public_key(tmp_path / "key.pub")
    assert public.public_data == made[0][0].public_data


@pytest.mark.parametrize("open_mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, open_mode: int) -> None:
    path = tmp_path / "key"
    load_or_create_host_key(path)
    path.chmod(open_mode)
    with pytest.raises(FileError, match=rf"{path}: permissions {open_mode:04o} are.*chmod 600"):
        load_or_create_host_key(path)


@pytest.mark.parametrize("content", [b"", b"junk\n", b"\xff\x00", b"ssh-ed25519 AAAA\n"])
def test_what_is_no_private_key_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"{path}: not usable"):
        load_host_key(path)


def test_a_passphrase_is_an_error(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(key.export_private_key("pkcs8-pem", passphrase="secret"))
    with pytest.raises(FileError, match="Passphrase"):
        load_host_key(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        load_host_key(tmp_path / "missing")
    with pytest.raises(FileError, match="directory"):
        load_host_key(tmp_path)


def test_a_state_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(FileError, match="cannot make a host key"):
        load_or_create_host_key(tmp_path / "state" / "key")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_ssh_keygen_sees_the_same_key(tmp_path: Path) -> None:
    key, _ = load_or_create_host_key(tmp_path / "key")
    for name in ("key", "key.pub"):
        command = ["ssh-keygen", "-l", "-f", str(tmp_path / name)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert shown.split()[1] == fingerprint(key)
