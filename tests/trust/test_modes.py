"""relay/trust/modes.py: whose files may be used. (What ssh says of private keys: test_hostkeys.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.errors import FileError
from relay.trust.modes import check_private, check_strict

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file some folders below a home that is elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    path = tmp_path / "a" / "b" / "keys"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o644)
    return path


def refused(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        check_strict(path, path.stat())
    return str(caught.value)


def test_what_only_its_owner_can_write_is_used(file: Path) -> None:
    file.parent.parent.chmod(0o755)
    check_strict(file, file.stat())


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_folder_that_others_can_write(file: Path, mode: int) -> None:
    folder = file.parent.parent
    folder.chmod(mode)
    assert f"others may write {folder} (mode {mode:04o}); mend it with `chmod go-w {folder}`" in (
        refused(file)
    )


def test_the_folder_that_counts_is_where_the_link_leads(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "keys"
    link.symlink_to(file)
    check_strict(link, link.stat())
    file.parent.chmod(0o777)
    assert str(file.parent) in refused(link)


def test_what_is_above_home_does_not_count(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.parent.chmod(0o777)
    monkeypatch.setenv("HOME", str(file.parent))
    check_strict(file, file.stat())


def test_a_folder_with_the_sticky_bit_is_fine(file: Path) -> None:
    file.parent.chmod(0o1777)
    check_strict(file, file.stat())
    file.chmod(0o1666)
    assert "others may write" in refused(file)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give away")
def test_what_belongs_to_somebody_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(file, 12345, -1)
    assert f"{file} belongs to another user; mend it with `chown 0 {file}`" in refused(file)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    check_strict(file, file.stat())  # Ours, in root's folders.


def test_a_user_without_a_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    check_strict(file, file.stat())


def test_where_there_are_no_modes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o666)
    status = file.stat()
    monkeypatch.delattr(os, "getuid")
    check_strict(file, status)
    check_private(file, status)
