"""A password in a file: nobody else's to read, and one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.errors import FileError
from relay.trust.secret import MAX_PASSWORD, read_password


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\r\n", "secret"),
        (b" se:cret \n", " se:cret "),
        ("ü\u00a0".encode(), "ü\u00a0"),
        (b"\xff\n", "\udcff"),
        (b"x" * MAX_PASSWORD + b"\r\n", "x" * MAX_PASSWORD),
    ],
)
def test_a_password(tmp_path: Path, data: bytes, password: str) -> None:
    assert read_password(written(tmp_path / "p", data)) == password


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"secret\nsecret\n", b"sec\0ret", b"secret\x1b", b"x" * (MAX_PASSWORD + 3)]
)
def test_what_is_none_is_not_repeated(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FileError, match="not one line with a password") as caught:
        read_password(written(tmp_path / "p", data))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_what_others_can_reach_is_not_used(tmp_path: Path, mode: int) -> None:
    with pytest.raises(FileError, match=r"others than its owner can reach the password.*chmod 600"):
        read_password(written(tmp_path / "p", b"secret\n", mode))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(FileError, match="no plain file"):
        read_password(tmp_path / "fifo")
    with pytest.raises(FileError, match="no plain file"):
        read_password(Path(os.devnull))
    with pytest.raises(FileError, match=r"cannot read the password: Is a directory|no plain file"):
        read_password(tmp_path)
    with pytest.raises(FileError, match="cannot read the password: No such file"):
        read_password(tmp_path / "missing")
