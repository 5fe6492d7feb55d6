"""Host keys: who B is (RFC 4251 §4.1). A client trusts B by this key and by nothing else.

The first start makes an ed25519 key. Its private half must never exist under its name half
written or readable by others, not even for a moment: it is written to a temporary file that
is 0600 from its creation, and then takes its name in one step.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncssh

from relay import system
from relay.errors import FileError, ProtocolViolation
from relay.trust.certificates import HOST, parse
from relay.trust.modes import check_private

HOST_KEY_TYPE: Final = "ssh-ed25519"
"""Small, fast, and known to every SSH client of the last ten years, dropbear included."""

HOST_KEY_NAME: Final = "ssh_host_ed25519_key"
"""Its file in a state folder: sshd's own name for it."""

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o700

HostKey = asyncssh.SSHKey
CertifiedKey = tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
HostIdentity = asyncssh.SSHKey | CertifiedKey
"""A host key alone, or with what an authority says of it: clients that know no authority still
get the key."""


def load_or_create_host_key(path: Path) -> tuple[asyncssh.SSHKey, bool]:
    """The host key in `path`, and whether this call made it (with `path.pub` beside it).

    Raises FileError when the file is there but no usable private key, or cannot be made.
    """
    if path.exists():
        return load_host_key(path), False
    return create_key(path, comment=f"relay-server@{socket.gethostname()}")


def create_key(path: Path, comment: str) -> tuple[asyncssh.SSHKey, bool]:
    """Make an ed25519 key pair, `path` (0600) and `path.pub` (0644), and the folders above (0700).

    A key that another process put there meanwhile stays, and is the one returned, with False.
    Raises FileError.
    """
    key = asyncssh.generate_private_key(HOST_KEY_TYPE, comment=comment)
    try:
        make_private_directory(path.parent)
        if not _write_new(path, key.export_private_key("openssh"), PRIVATE_MODE):
            return load_host_key(path), False
        # A public half that is left from a key that is gone would only mislead.
        public = path.with_name(f"{path.name}.pub")
        public.unlink(missing_ok=True)
        _write_new(public, key.export_public_key("openssh"), PUBLIC_MODE)
    except OSError as error:
        raise FileError(path, f"cannot make a host key: {error.strerror}") from error
    return key, True


def load_host_key(path: Path) -> asyncssh.SSHKey:
    """The private key in `path`, in any format that asyncssh reads (OpenSSH, PEM, PKCS#8).

    Raises FileError when it cannot be read, is no private key, has a passphrase, or is
    readable by others.
    """
    try:
        with open(path, "rb") as file:
            check_private(path, os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        raise FileError(path, f"cannot read the host key: {error.strerror}") from error
    try:
        return asyncssh.import_private_key(data)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        # A passphrase is among the reasons: a server has nobody to ask for it.
        raise FileError(path, f"not usable as a host key: {error}") from error


def load_host_certificate(path: Path, keys: Sequence[HostKey]) -> CertifiedKey:
    """The certificate in `path` (`ssh-keygen -s ca -h …`) with the one of `keys` that it is for.

    Raises FileError when it cannot be read, is no host certificate, or is for none of them. One
    that has expired is given out all the same: it is the clients' to judge, by their clock.
    """
    try:
        certificate = asyncssh.read_certificate(path)
    except OSError as error:
        raise FileError(path, f"cannot read the host certificate: {error.strerror}") from error
    except asyncssh.KeyImportError as error:
        raise FileError(path, f"not usable as a host certificate: {error}") from error
    if not _is_hosts(certificate):
        raise FileError(path, "a certificate, but not a host's: make it with `ssh-keygen -h`")
    for key in keys:
        if key.public_data == certificate.key.public_data:
            return key, certificate
    raise FileError(path, "a certificate for none of the host keys")


def _is_hosts(certificate: asyncssh.SSHCertificate) -> bool:
    try:
        return parse(certificate.public_data).kind == HOST
    except ProtocolViolation:  # Of X.509, or for a key that is no host's.
        return False


def fingerprint(key: asyncssh.SSHKey) -> str:
    """`SHA256:…`, the 43 characters that `ssh-keygen -l` prints for the key."""
    return key.get_fingerprint("sha256")


def make_private_directory(path: Path) -> None:
    """Make `path` and what is missing above it, each 0700. Raises OSError.

    `Path.mkdir(parents=True)` gives its mode to the last folder only.
    """
    if not path.is_dir():
        make_private_directory(path.parent)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def _write_new(path: Path, data: bytes, mode: int) -> bool:
    """Write `path` whole or not at all. False: it is there already, and untouched.

    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | system.OPEN
    fd = os.open(temporary, flags, PRIVATE_MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            system.set_mode(fd, mode)
            os.fsync(fd)
        # link(2), unlike rename(2), never replaces a file: of two servers that start at once
        # in one state folder, the second finds the first one's key.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
