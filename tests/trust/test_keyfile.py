"""relay/trust/keyfile.py: the file as logins see it, and as those see it who are in."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from relay.trust.keyfile import KeyFile
from tests.told import logged

KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLXn1vzrPJwlseF+eX72pL/hekkom0hOQuH5ZiXUjOG me@ed25519\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "authorized_keys"
    path.write_text(KEY)
    return path


@pytest.fixture
def file(path: Path) -> KeyFile:
    """As it is some time after the start."""
    file = KeyFile(path, logged())
    file.keys()
    assert settled(file) == 1
    assert settled(file) is None
    return file


def settled(file: KeyFile) -> int | None:
    """How many keys a second look finds."""
    assert file.settled() is None
    keys = file.settled()
    return None if keys is None else len(keys.entries)


def test_a_login_goes_by_the_file_as_it_is(path: Path, file: KeyFile) -> None:
    path.write_text("")
    assert len(file.keys().entries) == 0
    path.write_text(KEY)
    assert len(file.keys().entries) == 1


def test_a_change_counts_when_two_looks_find_it_the_same(path: Path, file: KeyFile) -> None:
    path.write_text("")
    assert file.settled() is None
    keys = file.settled()
    assert keys is not None
    assert keys.entries == ()
    assert file.settled() is None


def test_an_editor_that_empties_the_file_and_then_writes_it(path: Path, file: KeyFile) -> None:
    path.write_text("")
    assert file.settled() is None
    assert len(file.keys().entries) == 0  # A login comes in the middle of it.
    path.write_text(f"restrict {KEY}")
    assert file.settled() is None
    keys = file.settled()
    assert keys is not None
    assert not keys.entries[0].grant.port_forwarding


def test_an_editor_that_writes_another_file_in_its_place(path: Path, file: KeyFile) -> None:
    path.rename(path.with_name("authorized_keys~"))
    assert file.settled() is None
    path.write_text(f"restrict {KEY}")
    assert settled(file) == 1


def test_a_file_that_is_gone_is_no_order_to_throw_everybody_out(
    path: Path, file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    assert file.keys().entries == ()
    for _ in range(3):
        assert file.settled() is None
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "No such file or directory: nobody can log in; who is in stays" in said[0]
    path.write_text(KEY)
    assert settled(file) == 1


def test_the_operator_s_word_counts_at_once(path: Path, file: KeyFile) -> None:
    path.write_text("")
    keys = file.settled(at_once=True)
    assert keys is not None
    assert keys.entries == ()
    path.unlink()
    assert file.settled(at_once=True) is None


def test_two_changes_in_one_tick_of_the_file_s_clock(path: Path, file: KeyFile) -> None:
    """A login reads the first of them; the second looks the same from outside."""
    same = path.stat()
    path.write_text("#" * (len(KEY) - 1) + "\n")
    os.utime(path, ns=(same.st_atime_ns, same.st_mtime_ns))
    assert file.keys().entries == ()
    file._text = "something else of the same length, read at the same time"
    keys = [file.settled() for _ in range(2)][1]
    assert keys is not None
    assert keys.entries == ()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_strict_modes(path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    path.chmod(mode)
    file = KeyFile(path, logged())
    assert file.keys().entries == ()
    assert f"others may write {path} (mode {mode:04o}); mend it with `chmod go-w {path}`" in (
        caplog.text
    )
    assert file.settled() is None
    assert file.settled() is None
    path.chmod(0o644)
    assert len(file.keys().entries) == 1
    path.chmod(mode)
    assert file.keys().entries == ()
    file.set_strict(False)
    assert len(file.keys().entries) == 1
