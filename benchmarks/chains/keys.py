"""Throw-away keys and the files that name them, in OpenSSH's formats."""

from __future__ import annotations

from pathlib import Path

import asyncssh


def make_key(path: Path) -> Path:
    """Make an ed25519 key, with its public half in PATH.pub."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=path.name)
    path.touch(mode=0o600)
    key.write_private_key(path)
    key.write_public_key(public(path))
    return path


def public(path: Path) -> Path:
    """Where the public half lies."""
    return path.with_name(f"{path.name}.pub")


def authorize(path: Path, *keys: Path) -> Path:
    """Write an authorized_keys that admits these keys."""
    path.write_text("".join(public(key).read_text() for key in keys))
    return path


def know_host(path: Path, port: int, host_key: Path) -> Path:
    """Write a known_hosts that holds B's key alone."""
    path.write_text(f"[127.0.0.1]:{port} {public(host_key).read_text()}")
    return path
